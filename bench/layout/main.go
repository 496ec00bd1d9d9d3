package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	runs := flag.Int("n", 100, "counted starts of each")
	winbox := flag.String("winbox", "build/winbox", "the winbox to measure")
	runtime := flag.String("runtime", "", "a built runtime, for 32-bit programs too")
	data := flag.String("data", "/var/lib/winbox", "where winbox keeps its runtimes")
	flag.Parse()
	root, err := filepath.Abs(*data)
	if err == nil {
		err = os.Setenv("WINBOX_DATA", root)
	}
	if err == nil {
		err = measureMemory(*winbox, *runtime)
	}
	if err == nil {
		err = measureTime(*runs, root, *runtime)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "layout:", err)
		os.Exit(1)
	}
}

// machine is what a program is built for.
type machine struct {
	// name is as in the table, arch as Go has it, pe as PE files have it.
	name, arch string
	pe         uint16
	// compiler is mingw-w64's, base what libraries are linked at unless told otherwise.
	compiler string
	base     uint64
}

// machinesOf are those that a runtime runs; the host's has no name.
func machinesOf(runtime string) []machine {
	all := []machine{
		{"64-bit", "amd64", 0x8664, "x86_64-w64-mingw32-gcc", 0x180000000},
		{"32-bit", "386", 0x14c, "i686-w64-mingw32-gcc", 0x10000000},
	}
	if runtime == "" {
		return all[:1]
	}
	return all
}
