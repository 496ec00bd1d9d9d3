package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Contender is one of several ways to do the same thing.
type Contender struct {
	Name string
	// Run does it once; what it returns is what counts.
	Run func() (time.Duration, error)
}

// Result holds the times of one contender, sorted.
type Result struct {
	Name  string
	Times []time.Duration
}

// NewResult sorts the times of a contender that were taken elsewhere.
func NewResult(name string, times []time.Duration) Result {
	slices.Sort(times)
	return Result{Name: name, Times: times}
}

// Min is the shortest time: what the machine can do when nothing disturbs.
func (r *Result) Min() time.Duration { return r.Times[0] }

// Median is the middle time.
func (r *Result) Median() time.Duration { return r.Times[len(r.Times)/2] }

// Compare runs the contenders in turns, rounds times each after one round that
// does not count.
//
// # Errors
//
// The first run that fails, with the contender's name.
func Compare(rounds int, contenders []Contender) ([]Result, error) {
	results := make([]Result, len(contenders))
	for round := range rounds + 1 {
		for i, c := range contenders {
			took, err := c.Run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			results[i].Name = c.Name
			if round > 0 {
				results[i].Times = append(results[i].Times, took)
			}
		}
	}
	for i := range results {
		slices.Sort(results[i].Times)
	}
	return results, nil
}

// Print writes a table; ratios are to the last contender.
func Print(w io.Writer, title string, results []Result) {
	if len(results) == 0 {
		return
	}
	peer := results[len(results)-1]
	fmt.Fprintf(w, "%s (%d runs each, interleaved)\n", title, len(peer.Times))
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\tmin ms\tmedian ms\tmin / %s\tmedian / %[1]s\t\n", peer.Name)
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.2f\t%.2f\t\n", r.Name, ms(r.Min()), ms(r.Median()), ms(r.Min())/ms(peer.Min()), ms(r.Median())/ms(peer.Median()))
	}
	t.Flush()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
