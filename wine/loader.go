package wine

import (
	"debug/elf"
	"fmt"
)

// LoaderRange gives the addresses at which the ELF loader for a machine is linked, end exclusive; both are 0 when it is
// position-independent. Nothing may be reserved there before it is loaded.
func (r *Runtime) LoaderRange(machine string) (start, end uint64, err error) {
	loader, _, err := r.Loader(machine)
	if err != nil {
		return 0, 0, err
	}
	file, _, err := r.files.Open(loader)
	if err != nil {
		return 0, 0, fmt.Errorf("read the headers of %s: %w", loader, err)
	}
	defer file.Close()
	f, err := elf.NewFile(file)
	if err != nil {
		return 0, 0, fmt.Errorf("read the headers of %s: %w", loader, err)
	}
	if f.Type != elf.ET_EXEC {
		return 0, 0, nil
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if start == 0 || p.Vaddr < start {
			start = p.Vaddr
		}
		end = max(end, p.Vaddr+p.Memsz)
	}
	return start, end, nil
}
