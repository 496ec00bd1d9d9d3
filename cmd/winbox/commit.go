package main

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"winbox/quota"
	"winbox/sandbox"
	"winbox/wine"
)

// commit is what the programs of a container have committed; sizes are bytes.
type commit struct {
	Charge uint64 `json:"charge"`
	Peak   uint64 `json:"peak"`
	// Limit is left out when there is none.
	Limit uint64 `json:"limit,omitempty"`
	// Failures is how many commits were refused.
	Failures uint32 `json:"failures"`
}

// commitOf reads the counters of a Windows container; nil while there are none, or for one that ends.
func commitOf(ct *sandbox.Container) (*commit, error) {
	counters, err := quota.ReadCounters(rootOf(ct))
	switch {
	case notYet(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	c := &commit{Charge: counters.Commit, Peak: counters.Peak, Failures: counters.Failures}
	for _, dir := range ct.Scratch() {
		limits, err := wine.Scratch(dir).Limits()
		if err != nil {
			return nil, err
		}
		if limits != nil && limits.Commit != quota.NoCommitLimit {
			c.Limit = limits.Commit
		}
	}
	return c, nil
}

// rootOf is the container's root directory.
func rootOf(ct *sandbox.Container) string {
	return filepath.Join("/proc", strconv.Itoa(ct.PID()), "root")
}

// notYet says that there are no counters: not yet, or no more.
func notYet(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// commitFailure is what an event says of commits that were refused.
type commitFailure struct {
	// Failures is their number since the container began, of the process if that is known.
	Failures uint32 `json:"failures"`
	// Process is what the kernel calls the process, at most 15 bytes of its program's name, and PID its id on the host; left
	// out when it had ended before anybody looked.
	Process string `json:"process,omitempty"`
	PID     int    `json:"pid,omitempty"`
}

// commitWatch reports refused commits of a Windows container. It keeps the counters open: those of a program that ends at once
// can be read after that.
type commitWatch struct {
	ct     *sandbox.Container
	report func(*commitFailure) error
	file   *quota.CountersFile
	total  uint32
	each   map[int]uint32
}

// look is called often. What had been refused before it was first called is no event.
func (w *commitWatch) look() error {
	if !w.ct.Windows() {
		return nil
	}
	first := w.file == nil
	if first {
		var err error
		if w.file, err = quota.OpenCounters(rootOf(w.ct)); notYet(err) {
			return nil
		} else if err != nil {
			return err
		}
	}
	now, err := w.file.Read()
	if err != nil {
		return err
	}
	before := w.each
	w.each = map[int]uint32{}
	known := uint32(0)
	for _, p := range now.Processes {
		w.each[p.PID] = p.Failures
		if first || p.Failures <= before[p.PID] {
			continue
		}
		known += p.Failures - before[p.PID]
		failure := &commitFailure{Failures: p.Failures}
		failure.Process, failure.PID = w.ct.ProcessName(p.PID)
		if err := w.report(failure); err != nil {
			return err
		}
	}
	rest := now.Failures - w.total
	w.total = now.Failures
	if first || now.Failures == 0 || rest <= known || rest > 1<<31 { // the counters are the programs' to write
		return nil
	}
	return w.report(&commitFailure{Failures: now.Failures})
}

func (w *commitWatch) close() {
	if w.file != nil {
		w.file.Close()
	}
}
