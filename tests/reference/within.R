# Writes within_mixed.tsv: fixed effects of mixed models of within_trials.tsv (made-up trials of
# ten people, 4 to 8 each) with Satterthwaite's degrees of freedom. Made with R 4.2.2,
# lme4 1.1.31, lmerTest 3.1.3.
#   cd tests/reference && Rscript within.R
suppressMessages(library(lmerTest))

trials <- read.delim("within_trials.tsv", colClasses = c(subject = "character"))
mean_of <- ave(trials$effect, trials$subject)
trials$within <- trials$effect - mean_of
trials$between <- mean_of - mean(tapply(trials$effect, trials$subject, mean))
trials$held <- as.numeric(trials$condition == "partner")
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10))
models <- list(
  slopes = rating ~ within + between + (1 + within | subject),
  constants = rating ~ within + between + (1 | subject),
  held = rating ~ within + between + held + (1 + within | subject)
)
rows <- lapply(names(models), function(name) {
  fit <- lmer(models[[name]], trials, control = tight)
  table <- summary(fit)$coefficients
  data.frame(model = name, term = rownames(table), table, sigma = sigma(fit))
})
rows <- do.call(rbind, rows)
names(rows) <- c("model", "term", "estimate", "error", "df", "t", "p", "sigma")
numeric <- sapply(rows, is.numeric)
rows[numeric] <- lapply(rows[numeric], function(x) sprintf("%.10g", x))
write.table(rows, "within_mixed.tsv", sep = "\t", row.names = FALSE, quote = FALSE)
