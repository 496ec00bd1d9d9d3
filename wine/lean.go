package wine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"unicode/utf16"
)

// A lean prefix is one without the classes of COM, all time zones but UTC, and some long lists in its registry: to read
// them takes the wineserver longer than all else of a start, and to keep them 5 MiB. They are brought in (boot/wineboot.c) before the
// first request for one of them, which the library in each of Wine's processes sees (quota/library/registry.c). Programs that will
// ask for sure do not get such a prefix (see [Lean]). It is a layer above the template's prefix, with a smaller system.reg and
// the rest as files.
const (
	// loadCommand is the file at the top of a lean prefix with what brings them in; when it is gone, they are there.
	loadCommand = "load-registry"
	// registrySetting is a variable that has them brought in before a process asks for anything.
	registrySetting = "WINBOX_REGISTRY=whole"

	zonesKey = `Software\Microsoft\Windows NT\CurrentVersion\Time Zones`
	// In a lean prefix the key of time zones is a symbolic link: first to the two that are UTC, then to all of them.
	utcZones, allZones = " (UTC)", " (all)"
	// lateDir is the folder of the files on drive C:.
	lateDir = "windows/winbox"
)

// A lateKey is a key with all below it that a lean prefix lacks at first, and the name of its file.
type lateKey struct{ key, file string }

// utcNames are the time zones that are UTC, in the order in which Wine looks.
var utcNames = []string{"Greenwich Standard Time", "UTC"}

// lateKeys are those that boot/wineboot.c loads, at the names that quota/library/registry.c looks for. What is listed with their
// neighbours has to be there from the start, or to be asked for by such a name as well. The server loads no key that it has already: it makes Software\Classes
// itself, whatever the registry's files have.
func lateKeys() []lateKey {
	return []lateKey{
		{`Software\Classes\CLSID`, "clsid.reg"},
		{`Software\Classes\Interface`, "interface.reg"},
		{`Software\Classes\Wow6432Node\CLSID`, "clsid32.reg"},
		{`Software\Classes\Wow6432Node\Interface`, "interface32.reg"},
		{`Software\Classes\MIME`, "mime.reg"},
		{`Software\Classes\Typelib`, "typelib.reg"},
		{`Software\Classes\MediaFoundation`, "media.reg"},
		{`Software\Classes\DirectShow`, "show.reg"},
		{`Software\Microsoft\Windows\CurrentVersion\Telephony\Country List`, "telephony.reg"},
		{`Software\Microsoft\Windows\CurrentVersion\Explorer\FolderDescriptions`, "folders.reg"},
		{`Software\Microsoft\Cryptography\OID\EncodingType 0`, "oid0.reg"},
		{`Software\Microsoft\Cryptography\OID\EncodingType 1`, "oid1.reg"},
		{`Software\Microsoft\Cryptography\Providers\Trust`, "providers.reg"},
		{zonesKey, "zones.reg"},
	}
}

// makeLean takes the late keys out of a whole registry, and gives what is left and the text of their files, by name. ok
// is false when the registry is not as expected; then there is no lean prefix.
func makeLean(whole *registry) (core *registry, files map[string][]byte, ok bool) {
	core = &registry{header: whole.header, sections: append([]*section(nil), whole.sections...)}
	files = make(map[string][]byte)
	for _, late := range lateKeys() {
		// The server takes the names in a file as relative to the parent of the key that it is loaded as.
		parent, name := late.key[:strings.LastIndexByte(late.key, '\\')], late.key[strings.LastIndexByte(late.key, '\\')+1:]
		cut := len(strings.ReplaceAll(parent, `\`, `\\`) + `\\`)
		hive := &registry{header: whole.header}
		for _, s := range core.below(late.key) {
			if s.isLink() && len(s.key) == cut+len(name) {
				hive.sections = nil // the key itself leads elsewhere, and costs nothing
				break
			}
			moved := *s
			moved.key = s.key[cut:]
			if late.key == zonesKey {
				moved.key = name + allZones + moved.key[len(name):]
			}
			moved.head = "[" + moved.key + "]" + s.head[strings.LastIndexByte(s.head, ']')+1:]
			hive.sections = append(hive.sections, &moved)
		}
		if len(hive.sections) == 0 {
			continue
		}
		files[late.file] = hive.Bytes()
		core.deleteKey(late.key)
		if len(core.below(parent)) == 0 { // it was there by what was below it
			at := strings.ReplaceAll(parent, `\`, `\\`)
			core.sections = append(core.sections, &section{key: at, head: "[" + at + "] 0"})
		}
	}
	if files["zones.reg"] == nil {
		return nil, nil, false
	}
	for _, zone := range utcNames {
		for _, s := range whole.below(zonesKey + `\` + zone) {
			at := strings.ReplaceAll(zonesKey, `\`, `\\`)
			moved := *s
			moved.key = at + utcZones + s.key[len(at):]
			moved.head = "[" + moved.key + "] 0"
			core.sections = append(core.sections, &moved)
		}
	}
	core.link(zonesKey, zonesKey+utcZones)
	return core, files, true
}

// below gives the sections of a key and of all keys below it.
func (r *registry) below(key string) []*section {
	key = strings.ToLower(strings.ReplaceAll(key, `\`, `\\`))
	var found []*section
	for _, s := range r.sections {
		if name := strings.ToLower(s.key); name == key || strings.HasPrefix(name, key+`\\`) {
			found = append(found, s)
		}
	}
	return found
}

// isLink says whether the key is a symbolic link.
func (s *section) isLink() bool {
	for _, mark := range s.marks {
		if mark == "#link" {
			return true
		}
	}
	return false
}

// link makes a key a symbolic link to another.
func (r *registry) link(key, to string) {
	r.set(key, "SymbolicLinkValue", regLink(`\Registry\Machine\`+to))
	s := r.find(key)
	s.marks = append(s.marks, "#link")
}

// regLink encodes the target of a symbolic link (REG_LINK, without a terminating zero) as the registry files do.
func regLink(target string) string {
	var b strings.Builder
	b.WriteString("hex(6):")
	for i, u := range utf16.Encode([]rune(target)) {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%02x,%02x", u&0xff, u>>8)
	}
	return b.String()
}

// leanDir is the layer that makes the prefix a lean one.
func (t *Template) leanDir() string { return filepath.Join(t.Dir, "lean") }

// writeLean makes the layer, if the registry allows it.
func (t *Template) writeLean(whole *registry) error {
	core, files, ok := makeLean(whole)
	if !ok {
		return nil
	}
	dir := filepath.Join(t.leanDir(), "drive_c", filepath.FromSlash(lateDir))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	r := t.Runtime
	command := strings.Join([]string{r.Preloader64, r.Loader64, bootPath, "--registry", ""}, "\x00")
	return errors.Join(
		os.WriteFile(filepath.Join(t.leanDir(), "system.reg"), core.Bytes(), 0o644),
		os.WriteFile(filepath.Join(t.leanDir(), loadCommand), []byte(command), 0o644))
}

// leanBytes caps what is read of a program to decide about its prefix: a larger one takes so long to load that the
// registry makes little difference.
const leanBytes = 2 << 20

// plainLibraries are those of which no function asks for a class or a zone: a program that names no other library, to
// import it or to load it, may have a lean prefix.
var plainLibraries = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(kernel32|kernelbase|ntdll|msvcrt|ucrtbase|vcruntime140(_1)?|msvc[pr][0-9]+|api-ms-win-(core|crt)-[a-z0-9-]+|` +
		`user32|gdi32|advapi32|oleaut32|ws2_32|wsock32|bcrypt|bcryptprimitives|psapi|version|dbghelp|` +
		`libgcc_s_[a-z0-9-]+|libstdc\+\+-6|libwinpthread-1|libssp-0)\.dll$`)
})

// lateWords are what a program has in it that asks for one of those keys by other ways than those libraries.
var lateWords = []string{
	"ole32", "combase", "shell32", "typelib", "clsid", `software\classes`, `interface\`, "hkey_classes_root", "hkcr",
	`mime\`, "mediafoundation", "directshow", "telephony", "folderdescriptions", `cryptography\oid`, `cryptography\providers`,
	"time zones", "dynamictimezone",
}

// Lean says whether a program is small and names neither libraries nor keys that want more than a lean prefix has.
func Lean(program io.ReaderAt) bool {
	data, err := io.ReadAll(io.NewSectionReader(program, 0, leanBytes+1))
	if err != nil || len(data) > leanBytes {
		return false
	}
	text := fold(data)
	for _, word := range lateWords {
		if bytes.Contains(text, []byte(word)) {
			return false
		}
	}
	for rest := text; ; {
		end := bytes.Index(rest, []byte(".dll"))
		if end < 0 {
			return true
		}
		begin := end
		for begin > 0 && isNameByte(rest[begin-1]) {
			begin--
		}
		end += len(".dll")
		if !plainLibraries().Match(rest[begin:end]) {
			return false
		}
		rest = rest[end:]
	}
}

// isNameByte tells the characters of the names of libraries.
func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '+'
}

// leanFor says whether a lean prefix has what is started with the program.
func leanFor(boot Boot, display Display, env []string) bool {
	for _, setting := range env {
		if zone, ok := strings.CutPrefix(setting, "TZ="); ok && zone != "UTC0" && zone != "UTC" && zone != "Etc/UTC" {
			return false
		}
	}
	return boot != BootFull && display == (Display{}) // the desktop of a display is made of COM
}

// fold gives the bytes in lower case, and strings of two bytes a character as those of one look. Zeros between strings stay.
func fold(data []byte) []byte {
	text := data[:0]
	for i, c := range data {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		wide := c == 0 && i > 0 && i+2 < len(data) && data[i+1] != 0 && data[i+2] == 0 && (len(text) > 0 && text[len(text)-1] != 0)
		if !wide {
			text = append(text, c)
		}
	}
	return text
}
