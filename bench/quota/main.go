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

// program does what its argument says, some rounds of it where one is too short for Wine's clock of processor time, which
// counts 10 ms. It prints the time of the shortest round and the processor time of each on average, in microseconds.
const program = `
#include <stdio.h>
#include <string.h>
#include <windows.h>

static unsigned long long used(void)
{
	FILETIME c, e, k, u;

	GetProcessTimes(GetCurrentProcess(), &c, &e, &k, &u);
	return (((unsigned long long)k.dwHighDateTime << 32 | k.dwLowDateTime) +
		((unsigned long long)u.dwHighDateTime << 32 | u.dwLowDateTime)) / 10;
}

/* Does it once; 0 if there was no memory. */
static int run(const char *what)
{
	static void *kept[1000];
	HANDLE heap = GetProcessHeap();
	int i;

	if (!strcmp(what, "commit")) /* 64 MiB, committed and released */
		for (i = 0; i < 10000; i++) {
			char *p = VirtualAlloc(NULL, 64 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

			if (!p)
				return 0;
			VirtualFree(p, 0, MEM_RELEASE);
		}
	else if (!strcmp(what, "touch")) { /* the same in a range that stays, with a page of each MiB written to */
		char *range = VirtualAlloc(NULL, 64 << 20, MEM_RESERVE, PAGE_READWRITE);

		for (i = 0; i < 10000; i++) {
			size_t at;

			if (!VirtualAlloc(range, 64 << 20, MEM_COMMIT, PAGE_READWRITE))
				return 0;
			for (at = 0; at < 64 << 20; at += 1 << 20)
				range[at] = 1;
			VirtualFree(range, 64 << 20, MEM_DECOMMIT);
		}
		VirtualFree(range, 0, MEM_RELEASE);
	} else /* a heap of which a thousand pieces are in use at a time */
		for (i = 0; i < 1000000; i++) {
			void **p = &kept[(i * 7919U) % 1000];

			if (*p)
				HeapFree(heap, 0, *p);
			*p = HeapAlloc(heap, 0, 16 + (i * 104729U) % 4096);
			if (!*p)
				return 0;
			*(char *)*p = 1;
		}
	return 1;
}

int main(int argc, char **argv)
{
	int rounds = strcmp(argv[1], "touch") ? 10 : 1, i;
	unsigned long long best = -1ULL, before = used();
	LARGE_INTEGER begin, end, frequency;

	QueryPerformanceFrequency(&frequency);
	for (i = 0; i < rounds; i++) {
		unsigned long long took;

		QueryPerformanceCounter(&begin);
		if (!run(argv[1]))
			return 3;
		QueryPerformanceCounter(&end);
		took = (end.QuadPart - begin.QuadPart) * 1000000 / frequency.QuadPart;
		if (took < best)
			best = took;
	}
	printf("%llu %llu\n", best, (used() - before) / rounds);
	return 0;
}
`

func main() {
	runs := flag.Int("n", 10, "counted runs of each")
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
		for what, title := range map[string]string{
			"commit": "64 MiB committed and released 10,000 times",
			"touch":  "64 MiB of a range committed, 64 pages touched, decommitted 10,000 times",
			"heap":   "1,000,000 HeapAllocs",
		} {
			if only != "" && only != what {
				continue
			}
			// Of each, the processor times; what is compared is the time of the shortest round.
			processor := map[string][]time.Duration{}
			launch := func(commit string) func() (time.Duration, error) {
				return func() (time.Duration, error) {
					cmd := exec.Command(winbox, "--root", filepath.Join(dir, "state"), "launch", "--runtime", kind.runtime, "--memory", "1g", "--commit", commit, kind.exe, what)
					cmd.Dir, cmd.Env = folder, append(os.Environ(), "WINBOX_DATA="+kind.data)
					out, err := cmd.Output()
					var shortest, used time.Duration
					if n, scanErr := fmt.Sscan(string(out), (*int64)(&shortest), (*int64)(&used)); n != 2 || err != nil {
						return 0, fmt.Errorf("printed %q: %w", out, errors.Join(err, scanErr))
					}
					processor[commit] = append(processor[commit], used*time.Microsecond)
					return shortest * time.Microsecond, nil
				}
			}
			results, err := bench.Compare(runs, []bench.Contender{
				{Name: "counted", Run: launch("1g")}, {Name: "not counted", Run: launch("off")},
			})
			if err != nil {
				return err
			}
			bench.Print(os.Stdout, kind.name+": shortest round, "+title, results)
			bench.Print(os.Stdout, kind.name+": processor time of a round, "+title, []bench.Result{
				bench.NewResult("counted", processor["1g"][1:]), bench.NewResult("not counted", processor["off"][1:]),
			})
		}
	}
	return nil
}
