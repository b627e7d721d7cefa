# Writes estimate_dz.tsv (interval of the noncentrality by inverting pt) and
# estimate_power.tsv (smallest effect by power.t.test). Made with R 4.2.2.
#   cd tests/reference && Rscript estimate.R
save <- function(table, name) {
  table[] <- lapply(table, function(x) sprintf("%.15g", x))
  write.table(table, name, sep = "\t", row.names = FALSE, quote = FALSE)
}

invert <- function(t, df, p) {
  # Wide enough for every row below; pt is accurate up to ncp 37.62.
  uniroot(function(ncp) pt(t, df, ncp) - p, t + c(-10, 10), extendInt = "downX",
          tol = 1e-10)$root
}
dz <- expand.grid(t = c(-6, -1.5, 0, 0.3, 2, 5, 12), n = c(4, 16, 50, 200), level = c(0.9, 0.95))
dz$low <- mapply(function(t, n, level) invert(t, n - 1, (1 + level) / 2), dz$t, dz$n, dz$level)
dz$high <- mapply(function(t, n, level) invert(t, n - 1, (1 - level) / 2), dz$t, dz$n, dz$level)
save(dz, "estimate_dz.tsv")

power <- expand.grid(n = c(4, 10, 16, 34, 100), power = c(0.5, 0.8, 0.95), alpha = c(0.05, 0.01))
power$dz <- mapply(function(n, power, alpha) {
  power.t.test(n = n, power = power, sig.level = alpha, type = "one.sample",
               strict = TRUE, tol = 1e-10)$delta
}, power$n, power$power, power$alpha)
save(power, "estimate_power.tsv")
