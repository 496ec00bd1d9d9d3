// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"winbox/preload"
)

// The processes of a container see one memory, whichever machine they are of, and Wine is not told of it.
func TestSharedHeap(t *testing.T) {
	const start, end = 0x80000000, 0x81000000
	programs := map[*machine]string{}
	var script strings.Builder
	fmt.Fprintf(&script, "mount -t tmpfs none /run && mkdir -p %s && mount -t tmpfs -o size=%d,nr_inodes=2,mode=700 none %s\n", SharedDir, end-start, SharedDir)
	for _, m := range []*machine{&amd64, &i386} {
		plan := m.layout(m.defaultLimit, span{0x10000, 0x60000000}, span{0x7f000000, start}, share(start, end))
		programs[m] = preloaderFile(t, m) + " " + build(t, "gcc", "shared", "shared.c", m.compile, "-pie", "-fPIE", "-rdynamic")
		fmt.Fprintf(&script, "printf '%s' >%s\n", octal(plan), LayoutPath(m.name))
	}
	// There is room for nothing else beside the one file.
	fmt.Fprintf(&script, "%s %x 5 && %s %x 6 && %s %x && %s %x && stat -c %%s %s/heap && ! touch %s/more 2>/dev/null\n",
		programs[&amd64], start, programs[&i386], start, programs[&amd64], start, programs[&i386], end-4, SharedDir, SharedDir)
	cmd := exec.Command("/bin/sh", "-c", script.String())
	cmd.SysProcAttr = privateMounts(t)
	out, err := cmd.CombinedOutput()
	if want := "0\n5\n6\n0\n16777216\n"; err != nil || string(out) != want {
		t.Errorf("the processes print %q, want %q: %v", out, want, err)
	}
}

// octal writes bytes for printf(1).
func octal(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\%03o`, c)
	}
	return s.String()
}

func TestSharedHeapReport(t *testing.T) { forMachines(t, testSharedHeapReport) }

func testSharedHeapReport(t *testing.T, m *machine) {
	path, preloader := buildProbe(t, m, "pie"), preloaderFile(t, m)
	heap := span{0x80000000, 0x80100000}
	ranges := []span{{0x10000, 0x60000000}, share(heap.start, heap.end), {0x80100000, 0x90000000}}
	got := probe(t, run{machine: m, preloader: preloader, fixed: true, layout: m.layout(m.defaultLimit, ranges...)}, path)
	if want := []span{ranges[0], ranges[2]}; fmt.Sprint(got.reserved) != fmt.Sprint(want) {
		t.Errorf("published %x, want %x", got.reserved, want)
	}
	if mapped := at(got.late, heap.start); mapped.span != heap || mapped.rights != "rw-s" || mapped.name != SharedDir+"/heap" {
		t.Errorf("at %#x is %v", heap.start, mapped)
	}
	if got.work == nil || got.work.SharedHeap != (preload.Range{Start: heap.start, End: heap.end}) {
		t.Errorf("report %+v", got.work)
	}
}

// What a hostile process may have put in the place of the file is refused.
func TestSharedHeapReplaced(t *testing.T) {
	preloader, loader := preloaderFile(t, &i386), build(t, "gcc", "nothing", "nothing.c", "-m32", "-rdynamic")
	plan := i386.layout(i386.defaultLimit, share(0x80000000, 0x80100000))
	for name, command := range map[string]string{
		"link": "ln -s /etc/passwd heap", "folder": "mkdir heap", "FIFO": "mkfifo heap",
		"no file system": "cd / && rmdir " + SharedDir,
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, run{machine: &i386, preloader: preloader, layout: plan, before: "cd " + SharedDir + " && " + command}, SharedDir+"/heap", loader)
		})
	}
}

// A planned range that the kernel does not give is named, with the setting that keeps it.
func TestForbiddenRange(t *testing.T) {
	forMachines(t, func(t *testing.T, m *machine) {
		cmd := run{machine: m, preloader: preloaderFile(t, m), layout: m.layout(m.defaultLimit, span{0, 0x20000})}.command(t, build(t, "gcc", "nothing", "nothing.c", m.compile, "-pie", "-fPIE"))
		// Without CAP_SYS_RAWIO, vm.mmap_min_addr counts.
		cmd.Args[2] = strings.Replace(cmd.Args[2], `exec "$@"`, `exec setpriv --bounding-set=-sys_rawio "$@"`, 1)
		out, _ := cmd.CombinedOutput()
		if want := "winbox preloader: 0x0-0x20000 cannot be reserved: permission denied (see sysctl vm.mmap_min_addr, or SELinux's mmap_zero)\n"; string(out) != want {
			t.Errorf("%q, want %q", out, want)
		}
	})
}
