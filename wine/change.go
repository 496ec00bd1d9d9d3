package wine

import (
	"bytes"
	"encoding/hex"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A change is one to machine code of Wine's. It is made only where the code before it is found in the file exactly once,
// with all that is around it: another version, or another compiler's code, stays as it is.
type change struct {
	// before is the code in hexadecimal, ".." for a byte that may be any; after is what it becomes: ".." stays as it is.
	before, after string
}

// makeChanges makes changes to a file of a new tree: all of them or none. It reports whether they are made, now or before.
func makeChanges(file string, changes ...change) (bool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	for _, c := range changes {
		before, after := parseCode(c.before), parseCode(c.after)
		at, n := before.find(data)
		if _, done := after.over(before).find(data); n == 0 && done == 1 {
			continue
		} else if n != 1 || done != 0 {
			return false, nil
		}
		for i, b := range after {
			if b >= 0 {
				data[at+i] = byte(b)
			}
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		return false, err
	}
	return true, os.WriteFile(file, data, info.Mode().Perm())
}

// code is a piece of machine code: bytes, and -1 for one that may be any.
type code []int

func parseCode(text string) (c code) {
	for word := range strings.FieldsSeq(text) {
		if word == ".." {
			c = append(c, -1)
			continue
		}
		b, _ := hex.DecodeString(word) // the texts are ours
		c = append(c, int(b[0]))
	}
	return c
}

// over gives the code with what other has where it says nothing.
func (c code) over(other code) code {
	both := make(code, len(c))
	for i, b := range c {
		if both[i] = b; b < 0 {
			both[i] = other[i]
		}
	}
	return both
}

// find gives the last place of the code in data, and the number of places.
func (c code) find(data []byte) (at, n int) {
	first := []byte{byte(c[0])}
	for i := 0; i+len(c) <= len(data); i++ {
		next := bytes.Index(data[i:len(data)-len(c)+1], first)
		if next < 0 {
			break
		}
		i += next
		if c.matches(data[i:]) {
			at, n = i, n+1
		}
	}
	return at, n
}

func (c code) matches(data []byte) bool {
	for i, b := range c {
		if b >= 0 && data[i] != byte(b) {
			return false
		}
	}
	return true
}

// keepReserved changes the i386 ntdll.so of a new tree so that it keeps what is reserved for the program. As it is, it
// gives 0x20000000 to 0x7f000000 back to the kernel when the program is loaded, for native code that has no other room;
// and for a large-address-aware program all above 2 GiB. With the preloader native code has a pool of its own, and what is
// given back is where the kernel would put it first under vm.legacy_va_layout.
//
// Both calls of free_reserved_memory (Wine 10, dlls/ntdll/unix/virtual.c: virtual_release_address_space and
// virtual_set_large_address_space) become instructions that do nothing.
func keepReserved(tree string, w *Runtime) (bool, error) {
	if w.Loader32 == "" {
		return false, nil
	}
	file := filepath.Join(tree, path.Join(path.Dir(w.Windows32Dir), "i386-unix"), "ntdll.so")
	return makeChanges(file,
		// mov $0x7f000000,%edx; mov $0x20000000,%eax; call
		change{"ba 00 00 00 7f b8 00 00 00 20 e8 .. .. .. ..", ".. .. .. .. .. .. .. .. .. .. 0f 1f 44 00 00"},
		// mov $0x80000000,%eax; call; mov address_space_limit,%eax; mov %eax,user_space_limit
		change{"b8 00 00 00 80 e8 .. .. .. .. 8b 83 .. .. 00 00 89 83", ".. .. .. .. .. 0f 1f 44 00 00 .. .. .. .. .. .. .. .."},
	)
}
