package images

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"winbox/images/hive"
)

// A hiveSet is what the registry hives of an image's layers come to, in the keys that a Wine has a use for.
type hiveSet struct {
	// keys are by file of Wine's and path in lower case.
	keys map[string]*hiveKey
}

type hiveKey struct {
	file, path string
	values     map[string]hive.Value
}

func newHiveSet() *hiveSet { return &hiveSet{keys: make(map[string]*hiveKey)} }

const environmentKey = `control\session manager\environment`

// place says in which of Wine's registry files a key of a hive is, and at what path; why is what it is when it has none.
func place(name string, parts []string) (file, at, why string) {
	at = strings.Join(parts, `\`)
	lower := strings.ToLower(at)
	under := func(key string) bool { return lower == key || strings.HasPrefix(lower, key+`\`) }
	switch name {
	case "software_delta":
		switch {
		case under(`microsoft\windows\currentversion\app paths`), under(`microsoft\windows\currentversion\uninstall`):
		case under(`microsoft\windows`), under(`microsoft\windows nt`), under(`wow6432node\microsoft\windows`), under(`wow6432node\microsoft\windows nt`):
			return "", "", "registry keys of Windows itself"
		}
		return "system.reg", `Software\` + at, ""
	case "system_delta":
		set, rest, _ := strings.Cut(lower, `\`)
		switch {
		case strings.HasPrefix(set, "controlset") && rest == environmentKey:
			return "system.reg", `System\CurrentControlSet\Control\Session Manager\Environment`, ""
		case strings.HasPrefix(rest, `services\`):
			return "", "", "services and drivers of the registry"
		case len(parts) <= 4 && strings.HasPrefix(environmentKey, rest): // on the way there
			return "", "", ""
		}
		return "", "", "registry keys of the machine"
	}
	if under("software") || under("environment") {
		if under(`software\microsoft\windows`) || under(`software\microsoft\windows nt`) {
			return "", "", "registry keys of Windows itself"
		}
		return "user.reg", at, ""
	}
	return "", "", "registry keys of the user's desktop"
}

// apply applies a key of a layer's hive.
func (s *hiveSet) apply(name string, k hive.Key, skipped *skipped) error {
	if len(k.Path) == 0 {
		return nil
	}
	file, at, why := place(name, k.Path)
	if file == "" {
		if why != "" && len(k.Values) > 0 {
			skipped.add(why, strings.Join(k.Path, `\`))
		}
		return nil
	}
	id := file + `\` + strings.ToLower(at)
	if k.Gone || k.Anew {
		found := false
		for other := range s.keys {
			if other == id || strings.HasPrefix(other, id+`\`) {
				delete(s.keys, other)
				found = true
			}
		}
		if k.Gone {
			if !found {
				skipped.add("removals of registry keys that Windows has", at)
			}
			return nil
		}
	}
	if k.Link {
		skipped.add("links of the registry", at)
		return nil
	}
	key := s.keys[id]
	if key == nil {
		key = &hiveKey{file: file, path: at, values: make(map[string]hive.Value)}
		s.keys[id] = key
	}
	for _, v := range k.Values {
		if name := strings.ToLower(v.Name); v.Gone {
			if _, ok := key.values[name]; !ok {
				skipped.add("removals of registry keys that Windows has", at+`\`+v.Name)
			}
			delete(key.values, name)
		} else {
			key.values[name] = v
		}
	}
	return nil
}

// files are the texts for Wine (server/registry.c), by their names. Keys without values are there: some programs only ask
// for those.
func (s *hiveSet) files() map[string][]byte {
	keys := make([]*hiveKey, 0, len(s.keys))
	for _, k := range s.keys {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b *hiveKey) int { return strings.Compare(a.path, b.path) })
	texts := make(map[string]*bytes.Buffer)
	for _, k := range keys {
		if texts[k.file] == nil {
			texts[k.file] = bytes.NewBufferString("WINE REGISTRY Version 2\n")
		}
		b := texts[k.file]
		var parts []string
		for part := range strings.SplitSeq(k.path, `\`) {
			parts = append(parts, escape(part, "[]"))
		}
		fmt.Fprintf(b, "\n[%s] 0\n", strings.Join(parts, `\\`))
		names := make([]string, 0, len(k.values))
		for name := range k.values {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			writeValue(b, k.values[name])
		}
	}
	files := make(map[string][]byte, len(texts))
	for name, b := range texts {
		files[name] = b.Bytes()
	}
	return files
}

// writeValue writes a value as a line of Wine's.
func writeValue(b *bytes.Buffer, v hive.Value) {
	if v.Name == "" {
		b.WriteString("@=")
	} else {
		fmt.Fprintf(b, "\"%s\"=", escape(v.Name, `"`))
	}
	const dword = 4 // REG_DWORD
	if v.Type == dword && len(v.Data) == 4 {
		fmt.Fprintf(b, "dword:%08x\n", binary.LittleEndian.Uint32(v.Data))
		return
	}
	fmt.Fprintf(b, "hex(%x):", v.Type)
	for i, c := range v.Data {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "%02x", c)
	}
	b.WriteByte('\n')
}

// escape writes a name as Wine's files have it.
func escape(text, special string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\\' || strings.ContainsRune(special, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r > '~':
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\x%04x`, u)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
