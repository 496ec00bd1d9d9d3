package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"winbox/bench"
)

// program does what its argument says, all of it as often as the other argument says. It prints how long it would take if
// all of its parts took as long as the shortest, in nanoseconds: a part is so short that some are not interrupted on a
// machine that has other things to do.
const program = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

/* So many times of each, in all and in a part. */
enum { COMMITS = 10000, PART_COMMITS = 50, ALLOCATIONS = 1000000, PART_ALLOCATIONS = 5000 };

static char *range; /* 64 MiB that are reserved */

/* Does a part; 0 if there was no memory. */
static int part(const char *what)
{
	static void *kept[1000];
	static unsigned n;
	HANDLE heap = GetProcessHeap();
	int i;

	if (!strcmp(what, "commit")) /* 64 MiB, committed and released */
		for (i = 0; i < PART_COMMITS; i++) {
			char *p = VirtualAlloc(NULL, 64 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

			if (!p)
				return 0;
			VirtualFree(p, 0, MEM_RELEASE);
		}
	else if (!strcmp(what, "touch")) /* the same in a range that stays, with a page of each MiB written to */
		for (i = 0; i < PART_COMMITS; i++) {
			size_t at;

			if (!VirtualAlloc(range, 64 << 20, MEM_COMMIT, PAGE_READWRITE))
				return 0;
			for (at = 0; at < 64 << 20; at += 1 << 20)
				range[at] = 1;
			VirtualFree(range, 64 << 20, MEM_DECOMMIT);
		}
	else /* a heap of which a thousand pieces are in use at a time */
		for (i = 0; i < PART_ALLOCATIONS; i++, n++) {
			void **p = &kept[n * 7919U % 1000];

			if (*p)
				HeapFree(heap, 0, *p);
			*p = HeapAlloc(heap, 0, 16 + n * 104729U % 4096);
			if (!*p)
				return 0;
			*(char *)*p = 1;
		}
	return 1;
}

int main(int argc, char **argv)
{
	int parts = strcmp(argv[1], "heap") ? COMMITS / PART_COMMITS : ALLOCATIONS / PART_ALLOCATIONS, i;
	long long best = 1LL << 62;
	LARGE_INTEGER begin, end, frequency;

	if (!strcmp(argv[1], "touch"))
		range = VirtualAlloc(NULL, 64 << 20, MEM_RESERVE, PAGE_READWRITE);
	QueryPerformanceFrequency(&frequency);
	for (i = 0; i < parts * atoi(argv[2]); i++) {
		QueryPerformanceCounter(&begin);
		if (!part(argv[1]))
			return 3;
		QueryPerformanceCounter(&end);
		if (end.QuadPart - begin.QuadPart < best)
			best = end.QuadPart - begin.QuadPart;
	}
	printf("%lld\n", best * parts * (1000000000 / frequency.QuadPart));
	return 0;
}
`

func main() {
	runs := flag.Int("n", 10, "counted launches of each")
	only := flag.String("only", "", "measure only this: commit, touch or heap")
	winbox := flag.String("winbox", "build/winbox", "the winbox to measure")
	data := flag.String("data", "", "the data folder with a built runtime, for 32-bit programs too; empty for the host's Wine only")
	runtime := flag.String("runtime", "bench", "its name")
	flag.Parse()
	if err := measure(*runs, *winbox, *data, *runtime, *only); err != nil {
		fmt.Fprintln(os.Stderr, "quota:", err)
		os.Exit(1)
	}
}

func measure(runs int, winbox, data, runtime, only string) error {
	winbox, err := filepath.Abs(winbox)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "winbox-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	folder := filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	source := filepath.Join(dir, "quota.c")
	if err := os.WriteFile(source, []byte(program), 0o644); err != nil {
		return err
	}
	kinds := []struct{ name, compiler, exe, data, runtime string }{
		{"64-bit, the host's Wine", "x86_64-w64-mingw32-gcc", "quota64.exe", filepath.Join(dir, "data"), "host"},
	}
	if data != "" {
		if data, err = filepath.Abs(data); err != nil {
			return err
		}
		kinds = append(kinds, struct{ name, compiler, exe, data, runtime string }{"64-bit, " + runtime, "x86_64-w64-mingw32-gcc", "quota64.exe", data, runtime})
		kinds = append(kinds, struct{ name, compiler, exe, data, runtime string }{"32-bit, " + runtime, "i686-w64-mingw32-gcc", "quota32.exe", data, runtime})
	}
	for _, kind := range kinds {
		if out, err := exec.Command(kind.compiler, "-O2", "-s", "-o", filepath.Join(folder, kind.exe), source).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s (Debian packages gcc-mingw-w64-x86-64 and gcc-mingw-w64-i686)", kind.exe, err, out)
		}
		for _, work := range []struct {
			what, title string
			rounds      int
		}{
			{"commit", "64 MiB committed and released 10,000 times", 2},
			{"touch", "64 MiB of a range committed, 64 pages touched, decommitted 10,000 times", 1},
			{"heap", "1,000,000 HeapAllocs", 2},
		} {
			if only != "" && only != work.what {
				continue
			}
			// The processor time, user's and kernel's, of all processes of a launch. What a start takes of it is measured too.
			processor := map[string][]time.Duration{}
			launch := func(name, commit string, rounds int) bench.Contender {
				return bench.Contender{Name: name, Run: func() (time.Duration, error) {
					cmd := exec.Command(winbox, "--root", filepath.Join(dir, "state"), "launch", "--runtime", kind.runtime, "--memory", "1g", "--commit", commit,
						kind.exe, work.what, fmt.Sprint(rounds))
					cmd.Dir, cmd.Env = folder, append(os.Environ(), "WINBOX_DATA="+kind.data)
					out, err := cmd.Output()
					var shortest int64
					if n, scanErr := fmt.Sscan(string(out), &shortest); n != 1 || err != nil {
						return 0, fmt.Errorf("printed %q: %w", out, errors.Join(err, scanErr))
					}
					processor[name] = append(processor[name], cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
					return time.Duration(shortest), nil
				}}
			}
			results, err := bench.Compare(runs, []bench.Contender{
				launch("start, counted", "1g", 0), launch("start, not counted", "off", 0),
				launch("counted", "1g", work.rounds), launch("not counted", "off", work.rounds),
			})
			if err != nil {
				return err
			}
			bench.Print(os.Stdout, kind.name+": by the shortest parts, "+work.title, results[2:])
			// Of the shortest launches, what a round has taken.
			round := func(name string) bench.Result {
				start, all := bench.NewResult("", processor["start, "+name][1:]), bench.NewResult("", processor[name][1:])
				each := func(d time.Duration) time.Duration { return (d - start.Min()) / time.Duration(work.rounds) }
				return bench.NewResult(name, []time.Duration{each(all.Min()), each(all.Median())})
			}
			bench.Print(os.Stdout, kind.name+": processor time of a round on average, in the best launch and the median, "+work.title,
				[]bench.Result{round("counted"), round("not counted")})
		}
	}
	return nil
}
