package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"winbox/bench"
)

// program does what its argument says, and prints the time and the processor time that it took, in microseconds.
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

int main(int argc, char **argv)
{
	LARGE_INTEGER begin, end, frequency;
	unsigned long long before = used();
	static void *kept[1000];
	HANDLE heap = GetProcessHeap();
	int i;

	QueryPerformanceFrequency(&frequency);
	QueryPerformanceCounter(&begin);
	if (!strcmp(argv[1], "commit")) /* 64 MiB, committed and released */
		for (i = 0; i < 10000; i++) {
			char *p = VirtualAlloc(NULL, 64 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

			if (!p)
				return 3;
			VirtualFree(p, 0, MEM_RELEASE);
		}
	else if (!strcmp(argv[1], "touch")) { /* the same in a range that stays, with a page of each MiB written to */
		char *range = VirtualAlloc(NULL, 64 << 20, MEM_RESERVE, PAGE_READWRITE);

		for (i = 0; i < 10000; i++) {
			size_t at;

			if (!VirtualAlloc(range, 64 << 20, MEM_COMMIT, PAGE_READWRITE))
				return 3;
			for (at = 0; at < 64 << 20; at += 1 << 20)
				range[at] = 1;
			VirtualFree(range, 64 << 20, MEM_DECOMMIT);
		}
	} else /* a heap of which a thousand pieces are in use at a time */
		for (i = 0; i < 1000000; i++) {
			void **p = &kept[(i * 7919U) % 1000];

			if (*p)
				HeapFree(heap, 0, *p);
			*p = HeapAlloc(heap, 0, 16 + (i * 104729U) % 4096);
			if (!*p)
				return 3;
			*(char *)*p = 1;
		}
	QueryPerformanceCounter(&end);
	printf("%llu %llu\n", (unsigned long long)((end.QuadPart - begin.QuadPart) * 1000000 / frequency.QuadPart), used() - before);
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
		launch := func(commit, what string) func() (time.Duration, error) {
			return func() (time.Duration, error) {
				cmd := exec.Command(winbox, "--root", filepath.Join(dir, "state"), "launch", "--runtime", kind.runtime, "--memory", "1g", "--commit", commit, kind.exe, what)
				cmd.Dir, cmd.Env = folder, append(os.Environ(), "WINBOX_DATA="+kind.data)
				out, err := cmd.Output()
				fields := strings.Fields(string(out))
				if err != nil || len(fields) != 2 {
					return 0, fmt.Errorf("printed %q: %w", out, err)
				}
				took, err := strconv.Atoi(fields[1])
				return time.Duration(took) * time.Microsecond, err
			}
		}
		for what, title := range map[string]string{
			"commit": "64 MiB committed and released 10,000 times",
			"touch":  "64 MiB of a range committed, 64 pages touched, decommitted 10,000 times",
			"heap":   "1,000,000 HeapAllocs",
		} {
			if only != "" && only != what {
				continue
			}
			results, err := bench.Compare(runs, []bench.Contender{
				{Name: "counted", Run: launch("1g", what)}, {Name: "not counted", Run: launch("off", what)},
			})
			if err != nil {
				return err
			}
			bench.Print(os.Stdout, kind.name+": processor time, "+title, results)
		}
	}
	return nil
}
