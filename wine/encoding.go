package wine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Encoding says what the bytes are that a program takes for text: "utf-8", which is the default and also what an empty
// one means, or "cp" and the number of a code page, such as cp1252 or cp932. "utf-16" is for a program that writes UTF-16 to
// its standard streams; its code page is UTF-8.
//
// Whatever it is, the caller's side of the standard streams is UTF-8, when it is no terminal: the bridge of [Pipes] converts.
type Encoding string

const (
	// EncodingUTF8 is the default. It leaves the bytes of the streams alone.
	EncodingUTF8 Encoding = "utf-8"
	// EncodingUTF16 is little-endian; a byte order mark that the program writes is left out.
	EncodingUTF16 Encoding = "utf-16"
)

// Windows' numbers for UTF-8 and UTF-16.
const (
	codePageUTF8  = 65001
	codePageUTF16 = 1200
)

// check refuses what is no encoding.
func (e Encoding) check() error {
	_, err := e.codePage()
	return err
}

// codePage gives the code page of the program, ANSI and OEM.
func (e Encoding) codePage() (uint16, error) {
	if e == "" || e == EncodingUTF8 || e == EncodingUTF16 {
		return codePageUTF8, nil
	}
	number, ok := strings.CutPrefix(string(e), "cp")
	page, err := strconv.ParseUint(number, 10, 16)
	if !ok || err != nil || page == 0 {
		return 0, fmt.Errorf("encoding %q is none of utf-8, utf-16 and code pages such as cp1252", string(e))
	}
	return uint16(page), nil
}

// converted gives the code page of what the program reads and writes, and 0 when it is left alone.
func (e Encoding) converted() uint16 {
	if e == EncodingUTF16 {
		return codePageUTF16
	}
	if page, err := e.codePage(); err == nil && page != codePageUTF8 {
		return page
	}
	return 0
}

// localeFile is Wine's table of locales. Each process takes its code pages from it, those of the system's locale.
const localeFile = "locale.nls"

// localeTable is the runtime's table of locales with one code page for all of them.
func (r *Runtime) localeTable(page uint16) ([]byte, error) {
	if page != codePageUTF8 {
		if name := path.Join(r.DataDir, "nls", fmt.Sprintf("c_%03d.nls", page)); !isFile(filepath.Join(r.root, name)) {
			return nil, fmt.Errorf("code page %d: %s has none", page, r.Name)
		}
	}
	name := filepath.Join(r.root, r.DataDir, "nls", localeFile)
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if err := setCodePages(data, page); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// setCodePages sets the ANSI and OEM code page of all locales in a file locale.nls. Its format is that of Windows: at 16
// the offset of the table of locales, which begins with a header that has the magic bytes NSDS at 12, the number of
// locales at 32, the size of one at 34 and the offset of the first from the header at 36. A locale has its two code
// pages at 110 and 112.
func setCodePages(file []byte, page uint16) error {
	le := binary.LittleEndian
	const ansi, oem = 0x6e, 0x70
	bad := errors.New("not a table of locales that this version of winbox knows")
	if len(file) < 20 {
		return bad
	}
	start := uint64(le.Uint32(file[16:]))
	if start+40 > uint64(len(file)) {
		return bad
	}
	table := file[start:]
	count, size, first := uint64(le.Uint16(table[32:])), uint64(le.Uint16(table[34:])), uint64(le.Uint32(table[36:]))
	if !bytes.Equal(table[12:16], []byte("NSDS")) || count == 0 || size < oem+2 || first < 40 || first+count*size > uint64(len(table)) {
		return bad
	}
	for i := range count {
		locale := table[first+i*size:]
		le.PutUint16(locale[ansi:], page)
		le.PutUint16(locale[oem:], page)
	}
	return nil
}

// locales is the template's table of locales, for UTF-8.
func (t *Template) locales() string { return filepath.Join(t.Dir, localeFile) }

// makeLocales makes it.
func (t *Template) makeLocales() error {
	data, err := t.Runtime.localeTable(codePageUTF8)
	if err != nil {
		return err
	}
	return os.WriteFile(t.locales(), data, 0o644)
}

// localeMount gives the mount that sets the code pages of a container's programs, whose Wine has its data in a folder. A
// table of the container's own, for another encoding than UTF-8, is made by [Template.makeOwnLocales].
func (t *Template) localeMount(e Encoding, s Scratch, dataDir string) specs.Mount {
	from := t.locales()
	if page, err := e.codePage(); err != nil || page != codePageUTF8 {
		from = s.locales()
	}
	return bindFile(from, path.Join(dataDir, "nls", localeFile))
}

// makeOwnLocales makes the table of locales of a container that has an encoding of its own.
func (t *Template) makeOwnLocales(e Encoding, s Scratch) error {
	page, err := e.codePage()
	if err != nil || page == codePageUTF8 {
		return err
	}
	data, err := t.Runtime.localeTable(page)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(s.locales(), data, 0o644), os.Chmod(s.locales(), 0o644)) // whatever the umask
}

// locales is the table of locales of a container with an encoding of its own.
func (s Scratch) locales() string { return filepath.Join(string(s), localeFile) }
