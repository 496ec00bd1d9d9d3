package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"winbox/oci"
	"winbox/sandbox"
	"winbox/sandbox/cgroup"
)

func statsCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "stats",
		Usage: "show what containers use, as a table that is kept up to date",
		Description: `Those that run, or those named. CPU is that of the last interval, 100% for each
processor; memory is without files that can be dropped from it; NET I/O and
BLOCK I/O are received and sent, read and written. What is not known is --.
The table ends with the last of the containers named, or by Ctrl-C.

    winbox stats box1 box2
    winbox stats --no-stream --format json`,
		ArgsUsage: "[ID...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those that do not run"},
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "`FORMAT`: table, or json, an object a line"},
			&cli.DurationFlag{Name: "interval", Value: time.Second, Usage: "`TIME` between updates"},
			&cli.BoolFlag{Name: "no-stream", Usage: "show it once"},
		},
		Action: func(c *cli.Context) error {
			asJSON, err := jsonWanted(c)
			if err != nil {
				return err
			}
			s := &statsTable{
				globals: g, ids: c.Args().Slice(), all: c.Bool("all"), json: asJSON, out: c.App.Writer,
				interval: c.Duration("interval"), before: map[string]statsSample{},
			}
			if s.interval <= 0 {
				return fmt.Errorf("--interval: %s is not above zero", s.interval)
			}
			s.clear = !asJSON && !c.Bool("no-stream") && c.App.Writer == io.Writer(os.Stdout) && term.IsTerminal(int(os.Stdout.Fd()))
			return s.run(c)
		},
	}
}

// statsRow is a line. What is nil is not known.
type statsRow struct {
	ID     string     `json:"id"`
	Status oci.Status `json:"status"`
	// CPUPercent is of one processor.
	CPUPercent *float64     `json:"cpuPercent"`
	Memory     *statsMemory `json:"memory"`
	// Commit is of Windows containers.
	Commit *commit `json:"commit"`
	// Network is nil, too, for one that has the host's, BlockIO for one without counters of devices.
	Network *statsNetwork `json:"network"`
	BlockIO *statsBlockIO `json:"blockIO"`
	PIDs    *uint64       `json:"pids"`
}

// statsMemory are bytes. Without a limit of the container's own, the host's memory is one.
type statsMemory struct {
	Usage   uint64  `json:"usage"`
	Limit   uint64  `json:"limit"`
	Percent float64 `json:"percent"`
}

type statsNetwork struct {
	Received uint64 `json:"received"`
	Sent     uint64 `json:"sent"`
}

type statsBlockIO struct {
	Read    uint64 `json:"read"`
	Written uint64 `json:"written"`
}

// statsSample is the processor time of a container, in nanoseconds, at a time.
type statsSample struct {
	at    time.Time
	usage uint64
}

type statsTable struct {
	*globals
	ids       []string
	all, json bool
	interval  time.Duration
	clear     bool // the screen before each table
	out       io.Writer
	before    map[string]statsSample
}

func (s *statsTable) run(c *cli.Context) error {
	if _, err := s.rows(); err != nil { // the first samples of processor time
		return err
	}
	for {
		wait := s.interval
		if c.Bool("no-stream") {
			wait = min(wait, time.Second)
		}
		select {
		case <-c.Context.Done():
			return nil
		case <-time.After(wait):
		}
		rows, err := s.rows()
		if err != nil {
			return err
		}
		if len(s.ids) > 0 && !s.all && len(rows) == 0 {
			return nil
		}
		if err := s.print(rows); err != nil {
			return err
		}
		running := slices.ContainsFunc(rows, func(r statsRow) bool { return r.Status != oci.Stopped })
		if c.Bool("no-stream") || len(s.ids) > 0 && !running {
			return nil
		}
	}
}

// rows looks at the containers. Those named must exist at the first look.
func (s *statsTable) rows() ([]statsRow, error) {
	var list []*sandbox.Container
	var err error
	for _, id := range s.ids {
		ct, err := sandbox.Load(s.root, id)
		switch {
		case err == nil:
			list = append(list, ct)
		case len(s.before) == 0 || !errors.Is(err, sandbox.ErrNotExist):
			return nil, err
		}
	}
	if len(s.ids) == 0 {
		if list, err = sandbox.List(s.root); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	first := len(s.before) == 0
	var rows []statsRow
	for _, ct := range list {
		status := ct.Status()
		if first && len(s.ids) > 0 {
			s.before[ct.ID()] = statsSample{} // it has been there
		}
		if status == oci.Stopped && !s.all {
			continue
		}
		rows = append(rows, s.row(ct, status))
	}
	return rows, nil
}

// row reads the counters of a container; one that ends meanwhile has none.
func (s *statsTable) row(ct *sandbox.Container, status oci.Status) statsRow {
	row := statsRow{ID: ct.ID(), Status: status}
	if status == oci.Stopped || status == oci.Creating {
		return row
	}
	if n, err := ct.NetworkUsage(); err == nil && n != nil {
		row.Network = &statsNetwork{n.Received, n.Sent}
	}
	if ct.Windows() {
		row.Commit, _ = commitOf(ct) // without is not known
	}
	now := time.Now()
	d, err := ct.Stats()
	if err != nil {
		return row
	}
	if before := s.before[row.ID]; !before.at.IsZero() && d.CPU.Usage >= before.usage {
		row.CPUPercent = new(float64(d.CPU.Usage-before.usage) / float64(now.Sub(before.at)) * 100)
	}
	s.before[row.ID] = statsSample{now, d.CPU.Usage}
	row.PIDs = &d.Pids.Current
	m := &statsMemory{Usage: d.Memory.Usage - min(d.Memory.Usage, inactive(d)), Limit: d.Memory.Limit}
	if total := hostMemory(); m.Limit > total {
		m.Limit = total
	}
	if m.Limit > 0 {
		m.Percent = float64(m.Usage) / float64(m.Limit) * 100
	}
	row.Memory = m
	for _, count := range d.ServiceBytes {
		if row.BlockIO == nil {
			row.BlockIO = &statsBlockIO{}
		}
		switch count.Op {
		case "Read":
			row.BlockIO.Read += count.Value
		case "Write":
			row.BlockIO.Written += count.Value
		}
	}
	return row
}

// inactive is the page cache that the kernel drops first, which docker stats does not count as used, either.
func inactive(d *cgroup.Details) uint64 {
	if n, ok := d.MemoryStat["total_inactive_file"]; ok { // v1, with the groups below
		return n
	}
	return d.MemoryStat["inactive_file"]
}

// hostMemory is the memory of the host, in bytes.
func hostMemory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return cgroup.Unlimited
	}
	return info.Totalram * uint64(info.Unit)
}

func (s *statsTable) print(rows []statsRow) error {
	if s.json {
		out := json.NewEncoder(s.out)
		for _, row := range rows {
			if err := out.Encode(row); err != nil {
				return err
			}
		}
		return nil
	}
	if s.clear {
		fmt.Fprint(s.out, "\x1b[H\x1b[J") // to the upper left corner, and clear from there (console_codes(4))
	}
	w := tabwriter.NewWriter(s.out, 0, 1, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATUS\tCPU %\tMEM USAGE / LIMIT\tMEM %\tCOMMIT / LIMIT\tNET I/O\tBLOCK I/O\tPIDS")
	const none = "--"
	for _, r := range rows {
		cpu, memory, percent, committed, network, block, pids := none, none, none, none, none, none, none
		if r.CPUPercent != nil {
			cpu = fmt.Sprintf("%.2f%%", *r.CPUPercent)
		}
		if m := r.Memory; m != nil {
			memory, percent = units.BytesSize(float64(m.Usage))+" / "+units.BytesSize(float64(m.Limit)), fmt.Sprintf("%.2f%%", m.Percent)
		}
		if c := r.Commit; c != nil {
			committed = units.BytesSize(float64(c.Charge)) + " / " + none
			if c.Limit != 0 {
				committed = units.BytesSize(float64(c.Charge)) + " / " + units.BytesSize(float64(c.Limit))
			}
		}
		if n := r.Network; n != nil {
			network = pair(n.Received, n.Sent)
		}
		if b := r.BlockIO; b != nil {
			block = pair(b.Read, b.Written)
		}
		if r.PIDs != nil {
			pids = fmt.Sprint(*r.PIDs)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Status, cpu, memory, percent, committed, network, block, pids)
	}
	return w.Flush()
}

// pair writes two sizes as docker stats does, in powers of ten.
func pair(a, b uint64) string {
	size := func(n uint64) string { return units.HumanSizeWithPrecision(float64(n), 3) }
	return size(a) + " / " + size(b)
}
