# Writes correlation_sample.tsv (a made-up skewed sample of 25 with two outliers) and
# correlation_bca.tsv (its BCa intervals by the R package boot, 100,000 resamples). Made with
# R 4.2.2, boot 1.3.28.1. Influence "jackknife" is what Efron (1987) uses and "default" is
# boot.ci's own regression estimate.
#   cd tests/reference && Rscript correlation.R
library(boot)

save <- function(table, name) {
  numeric <- sapply(table, is.numeric)
  table[numeric] <- lapply(table[numeric], function(x) sprintf("%.15g", x))
  write.table(table, name, sep = "\t", row.names = FALSE, quote = FALSE)
}

set.seed(2006)
x <- rexp(25)
sample <- data.frame(x = round(x, 3), y = round(0.6 * x + rnorm(25), 3))
sample$y[1:2] <- sample$y[1:2] + c(6, -5)
save(sample, "correlation_sample.tsv")

intervals <- function(method, level) {
  statistic <- function(data, i) cor(data$x[i], data$y[i], method = method)
  set.seed(1)
  booted <- boot(sample, statistic, R = 100000)
  left_out <- sapply(1:25, function(i) statistic(sample[-i, ], 1:24))
  limits <- rbind(
    boot.ci(booted, level, type = "bca", L = mean(left_out) - left_out)$bca[4:5],
    boot.ci(booted, level, type = "bca")$bca[4:5]
  )
  data.frame(method, level, influence = c("jackknife", "default"), r = booted$t0,
             low = limits[, 1], high = limits[, 2])
}
save(rbind(intervals("pearson", 0.95), intervals("pearson", 0.9), intervals("spearman", 0.95)),
     "correlation_bca.tsv")
