package main

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"winbox/preload"
	"winbox/sandbox"
)

// layoutStatus is what --status-file tells of the program's address space.
type layoutStatus struct {
	// ImageBase is where the running process has the program; empty when it
	// ended before anybody could look.
	ImageBase string `json:"imageBase"`
	ImageSize uint64 `json:"imageSize"`
	// Held is the number of planned regions that are as planned; Broken names the others.
	Held   int      `json:"held"`
	Broken []string `json:"broken"`
}

// observer looks at the memory map of a launched program while it runs.
type observer struct {
	layout *preload.Layout
	exe    string
	stop   chan struct{}
	found  chan *layoutStatus
}

// observe begins to look at a container and returns at once.
func observe(ct *sandbox.Container, layout *preload.Layout, exe string) *observer {
	o := &observer{layout: layout, exe: exe, stop: make(chan struct{}), found: make(chan *layoutStatus, 1)}
	go func() { o.found <- o.watch(ct) }()
	return o
}

// result ends the looking and gives what was seen last, or nil.
func (o *observer) result() *layoutStatus {
	close(o.stop)
	return <-o.found
}

// watch looks until everything is as planned, or the container ends: at first
// the program is still being loaded.
func (o *observer) watch(ct *sandbox.Container) *layoutStatus {
	var last *layoutStatus
	for {
		if now := o.look(ct); now != nil {
			last = now
			if len(now.Broken) == 0 {
				return last
			}
		}
		select {
		case <-o.stop:
			return last
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// look audits the process that has the program mapped, if there is one yet.
func (o *observer) look(ct *sandbox.Container) *layoutStatus {
	group := ct.Group()
	if group == nil {
		return nil
	}
	pids, err := group.Pids()
	if err != nil {
		return nil
	}
	for _, pid := range pids {
		f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "maps"))
		if err != nil {
			continue
		}
		maps, err := preload.ParseMaps(f)
		f.Close()
		if err != nil {
			continue
		}
		if status := o.audit(maps); status != nil {
			return status
		}
	}
	return nil
}

// audit returns nil for a process that does not have the program at its place.
func (o *observer) audit(maps []preload.Mapping) *layoutStatus {
	image := o.layout.Image()
	s := &layoutStatus{Broken: []string{}}
	for _, f := range preload.Audit(o.layout, maps, o.exe) {
		switch f.Verdict {
		case preload.Held:
			s.Held++
			if f.Region == image {
				s.ImageBase, s.ImageSize = "0x"+strconv.FormatUint(image.Range.Start, 16), image.Range.Size()
			}
		case preload.Broken:
			s.Broken = append(s.Broken, f.Region.Name+": "+f.Detail)
		}
	}
	if s.ImageBase == "" {
		return nil
	}
	return s
}
