package wine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A change is one to machine code of Wine's. It is made only where the code before it is found in the file exactly once,
// with all that is around it: another version, or another compiler's code, stays as it is.
type change struct {
	file string
	// before is the code in hexadecimal, ".." for a byte that may be any; after is what it becomes: ".." stays as it is.
	before, after string
}

// makeChanges makes changes to files of a new tree: all of them or none. It reports whether they are made, now or before.
func makeChanges(changes ...change) (bool, error) {
	files := make(map[string][]byte)
	for _, c := range changes {
		if files[c.file] == nil {
			data, err := os.ReadFile(c.file)
			if err != nil {
				return false, err
			}
			files[c.file] = data
		}
		data := files[c.file]
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
	for file, data := range files {
		info, err := os.Stat(file)
		if err != nil {
			return false, err
		}
		if err := os.WriteFile(file, data, info.Mode().Perm()); err != nil {
			return false, err
		}
	}
	return true, nil
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
	file := filepath.Join(tree, w.unixDir32(), "ntdll.so")
	return makeChanges(
		// mov $0x7f000000,%edx; mov $0x20000000,%eax; call
		change{file, "ba 00 00 00 7f b8 00 00 00 20 e8 .. .. .. ..", ".. .. .. .. .. .. .. .. .. .. 0f 1f 44 00 00"},
		// mov $0x80000000,%eax; call; mov address_space_limit,%eax; mov %eax,user_space_limit
		change{file, "b8 00 00 00 80 e8 .. .. .. .. 8b 83 .. .. 00 00 89 83", ".. .. .. .. .. 0f 1f 44 00 00 .. .. .. .. .. .. .. .."},
	)
}

// unixDir32 has the ELF modules of the i386 Wine.
func (r *Runtime) unixDir32() string { return path.Join(path.Dir(r.Windows32Dir), "i386-unix") }

// smallestStack is what a stack has at least on Windows, in bytes: one unit of allocation.
const smallestStack = 64 << 10

// allowSmallStacks changes Wine in a new tree so that stacks have the size that is asked for, from 64 KiB on, and gives the
// size of the smallest; 0 when that stays Wine's own.
//
// As it is, ntdll.so makes each at least 1 MiB (Wine 10, dlls/ntdll/unix/virtual.c: virtual_alloc_thread_stack), for native
// code, which has stacks of its own since Wine 7. And ntdll.dll relies on that size: before it jumps to the entry point it
// clears 960 KiB of the stack (dlls/ntdll/signal_i386.c and signal_x86_64.c), nearly all of which nobody has written to. It
// clears 48 KiB instead; the page above and the two that guard the end make it 64 with one to spare.
func allowSmallStacks(tree string, w *Runtime) (uint64, error) {
	native64, windows64 := filepath.Join(tree, w.UnixDir, "ntdll.so"), filepath.Join(tree, w.WindowsDir, "ntdll.dll")
	changes := []change{
		// mov $0x100000,%edx; mov commit,%r8; lea view,%rdi; cmp %rdx,%rbx; push $0; cmovb %rdx,%rbx
		{native64, "ba 00 00 10 00 4c 8b 44 24 .. 48 8d 7c 24 .. 48 39 d3 6a 00 48 0f 42 da",
			".. 00 00 01 00 .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .."},
		// and $~0xfff,%rcx; lea -0xf0000(%rcx),%rdi; mov %rdi,%rsp; sub %rdi,%rcx; xor %eax,%eax; shr $3,%rcx; rep stos
		{windows64, "48 81 e1 00 f0 ff ff 48 8d b9 00 00 f1 ff 48 89 fc 48 29 f9 31 c0 48 c1 e9 03 f3 48 ab",
			".. .. .. .. .. .. .. .. .. .. 00 40 ff ff .. .. .. .. .. .. .. .. .. .. .. .. .. .. .."},
	}
	if w.Windows32Dir != "" {
		changes = append(changes, change{filepath.Join(tree, w.Windows32Dir, "ntdll.dll"),
			// mov $0xf0000,%ecx; sub %ecx,%edi; mov %edi,%esp; xor %eax,%eax; shr $2,%ecx; rep stos
			"b9 00 00 0f 00 29 cf 89 fc 31 c0 c1 e9 02 f3 ab", ".. 00 c0 00 00 .. .. .. .. .. .. .. .. .. .. .."})
	}
	if w.Loader32 != "" {
		changes = append(changes, change{filepath.Join(tree, w.unixDir32(), "ntdll.so"),
			// mov $0x100000,%edx; mov commit,%ecx; movl $0,(%esp); cmp %edx,%esi; lea view,%eax; push; cmovb %edx,%esi
			"ba 00 00 10 00 8b 8c 24 .. .. .. .. c7 04 24 00 00 00 00 39 d6 8d 44 24 .. ff b4 24 .. .. .. .. 0f 42 f2",
			".. 00 00 01 00 .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .."})
	}
	made, err := makeChanges(changes...)
	if !made {
		return 0, err
	}
	return smallestStack, nil
}

// kernelbaseFile is the library with the handler of console events that is asked last.
const kernelbaseFile = "kernelbase.dll"

// kernelbase is the template's copy of it, if there is one.
func (t *Template) kernelbase() string { return filepath.Join(t.Dir, kernelbaseFile) }

// makeKernelbase makes a copy in which that handler ends the process with STATUS_CONTROL_C_EXIT, as on Windows and as Wine 10
// has it for Ctrl-C. In Wine 8 it ends it with 0, and who typed Ctrl-C could not tell that from a program that has done what it
// should. (For other ways to stop a program, boot/stop.c does the same in the process.) What it would have said among Wine's
// debugging output is left out; it is where the longer code has room. There is no copy of another version.
func (t *Template) makeKernelbase() error {
	data, err := os.ReadFile(filepath.Join(t.Runtime.root, t.Runtime.WindowsDir, kernelbaseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // what is wrong with such a Wine is for others to say
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(t.kernelbase(), stripPE(data), 0o644); err != nil {
		return err
	}
	made, err := makeChanges(change{t.kernelbase(),
		// sub $0x38,%rsp; testb $1,__wine_dbch_console; jne; xor %ecx,%ecx; call *RtlExitUserProcess; mov %ecx,0x28(%rsp)
		"48 83 ec 38 f6 05 .. .. .. .. 01 75 08 31 c9 ff 15 .. .. .. .. 89 4c 24 28 4c 8d 0d",
		// mov $STATUS_CONTROL_C_EXIT,%ecx; nopw
		".. .. .. .. b9 3a 01 00 c0 66 0f 1f 44 00 00 .. .. .. .. .. .. .. .. .. .. .. .. .."})
	if made || err != nil {
		return err
	}
	return os.Remove(t.kernelbase())
}

// kernelbaseMounts is the mount of the copy over Wine's own, if there is a copy.
func (t *Template) kernelbaseMounts() []specs.Mount {
	if !isFile(t.kernelbase()) {
		return nil
	}
	return []specs.Mount{bindFile(t.kernelbase(), path.Join(t.Runtime.WindowsDir, kernelbaseFile))}
}
