// Package specfields lets tests go through the Go types of the runtime
// specification field by field, so that a field of a newer version cannot be
// overlooked: either its change has an effect, or a test has to say who sees to
// it. Fields are named as in config.json, without the indices of lists and the
// keys of maps: "linux.devices.major". Those of other platforms are left out.
//
// It is for tests only.
package specfields
