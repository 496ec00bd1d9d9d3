// Package bench compares commands side by side. Speed is never asserted on: it
// is printed, as medians and as ratios to a peer that ran in between, since a
// machine's pace changes from minute to minute.
//
// The programs below this folder are the benchmarks; `make bench` runs them.
package bench
