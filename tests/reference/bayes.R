# Writes bayes_ttest.tsv and bayes_correlation.tsv: Bayes factors (natural logs) by the R
# package BayesFactor, which approximates beyond t = 10 or so and gives NA beyond r = .95 or so,
# so that these are left out. Made with R 4.2.2, BayesFactor 0.9.12.4.4.
#   cd tests/reference && Rscript bayes.R
suppressMessages(library(BayesFactor))

save <- function(table, name) {
  table[] <- lapply(table, function(x) sprintf("%.15g", x))
  write.table(table, name, sep = "\t", row.names = FALSE, quote = FALSE)
}

t <- expand.grid(
  t = c(0, 0.5, -1.5, 2.5, 5, 10),
  n = c(2, 3, 5, 16, 30, 100, 1000),
  scale = c(sqrt(2) / 2, 0.3, sqrt(2))
)
t$log_bf10 <- mapply(
  function(t, n, scale) ttest.tstat(t, n, rscale = scale)[["bf"]], t$t, t$n, t$scale
)
save(t, "bayes_ttest.tsv")

# Data whose sample correlation is exactly r.
with_correlation <- function(r, n) {
  set.seed(n)
  x <- scale(rnorm(n))[, 1]
  y <- scale(residuals(lm(rnorm(n) ~ x)))[, 1]
  list(x = x, y = r * x + sqrt(1 - r^2) * y)
}

r <- expand.grid(
  r = c(0, 0.05, 0.3, -0.5, 0.9),
  n = c(4, 5, 6, 7, 8, 10, 16, 17, 30, 100, 500),
  kappa = c(1 / 3, 1, 1 / sqrt(27))
)
r$log_bf10 <- mapply(function(r, n, kappa) {
  sample <- with_correlation(r, n)
  correlationBF(sample$x, sample$y, rscale = kappa)@bayesFactor$bf
}, r$r, r$n, r$kappa)
save(r, "bayes_correlation.tsv")
