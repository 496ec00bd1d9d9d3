// Package diagnosis has the form in which parts of winbox say what a host can do, and how to mend what it cannot. It
// looks at nothing itself.
package diagnosis

// Status says how much a finding matters. The values are stable: they are in the JSON of "winbox doctor".
type Status string

// The statuses.
const (
	OK   Status = "ok"
	Warn Status = "warn" // something that may be wanted does not work
	Fail Status = "fail" // Windows programs do not run
)

// Check is one thing that was looked at.
type Check struct {
	// Area groups checks: "kernel", "address space", "wine".
	Area string `json:"area"`
	// Name is stable, and that of the kernel's setting where there is one.
	Name string `json:"name"`
	// Status is how it is.
	Status Status `json:"status"`
	// Found says what was found, in one line.
	Found string `json:"found"`
	// Remedy says what to do about it; empty when Status is OK.
	Remedy string `json:"remedy"`
}
