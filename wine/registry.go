package wine

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A registry is one of Wine's registry files (system.reg, user.reg, userdef.reg), which are text: a header, then
// sections of `[Key\\Sub] time` with lines `#time=…` or `#link` and `"name"=value`, values continued after a
// backslash at the end of a line. The wineserver reads sections in any order and creates missing parents.
type registry struct {
	header   []string
	sections []*section
}

type section struct {
	key    string   // as written, backslashes doubled
	head   string   // the whole first line
	marks  []string // lines that start with '#'
	values []value
}

type value struct {
	name  string   // as written, with quotes; "@" for the default value
	lines []string // the whole text, continuation lines included
}

// registrySignature is the first line of every registry file (server/registry.c of Wine).
const registrySignature = "WINE REGISTRY Version 2"

// parseRegistry reads a registry file. Lines it does not understand are an error: better to stop than to write back
// less than was there.
func parseRegistry(data []byte) (*registry, error) {
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if lines[0] != registrySignature {
		return nil, fmt.Errorf("not a Wine registry file: first line %.40q", lines[0])
	}
	r := &registry{}
	var sec *section
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "["):
			end := strings.LastIndex(line, "]")
			if end < 0 {
				return nil, fmt.Errorf("registry line %d: key without ]: %.60q", i+1, line)
			}
			sec = &section{key: line[1:end], head: line}
			r.sections = append(r.sections, sec)
		case sec == nil:
			r.header = append(r.header, line)
		case line == "":
		case strings.HasPrefix(line, "#"):
			sec.marks = append(sec.marks, line)
		default:
			name, err := valueName(line)
			if err != nil {
				return nil, fmt.Errorf("registry line %d: %w: %.60q", i+1, err, line)
			}
			v := value{name: name, lines: []string{line}}
			for continues(v) && i+1 < len(lines) {
				i++
				v.lines = append(v.lines, lines[i])
			}
			if continues(v) {
				return nil, fmt.Errorf("registry line %d: the file ends in a value that goes on: %.60q", i+1, lines[i])
			}
			sec.values = append(sec.values, v)
		}
	}
	return r, nil
}

// continues says whether a value goes on in the next line. Only binary values do; in a string a backslash before the
// end of the line is an escaped one, and a quote follows.
func continues(v value) bool {
	last := v.lines[len(v.lines)-1]
	return strings.HasSuffix(last, `\`) && !strings.HasSuffix(last, `"`)
}

// valueName gives the part of a value line before the equals sign.
func valueName(line string) (string, error) {
	if strings.HasPrefix(line, "@=") {
		return "@", nil
	}
	if !strings.HasPrefix(line, `"`) {
		return "", errors.New("neither a value nor a key")
	}
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			if i+1 < len(line) && line[i+1] == '=' {
				return line[:i+1], nil
			}
			return "", errors.New("no = after the name")
		}
	}
	return "", errors.New("name without closing quote")
}

// Bytes is the file's text.
func (r *registry) Bytes() []byte {
	var b bytes.Buffer
	for _, line := range r.header {
		b.WriteString(line + "\n")
	}
	for i, s := range r.sections {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(s.head + "\n")
		for _, line := range s.marks {
			b.WriteString(line + "\n")
		}
		for _, v := range s.values {
			b.WriteString(strings.Join(v.lines, "\n") + "\n")
		}
	}
	return b.Bytes()
}

// find gives a key's section or nil; key has single backslashes. Registry names ignore case.
func (r *registry) find(key string) *section {
	key = strings.ReplaceAll(key, `\`, `\\`)
	for _, s := range r.sections {
		if strings.EqualFold(s.key, key) {
			return s
		}
	}
	return nil
}

// has says whether a key has a value of this name.
func (s *section) has(name string) bool {
	quoted := regString(name)
	for _, v := range s.values {
		if strings.EqualFold(v.name, quoted) {
			return true
		}
	}
	return false
}

// set sets a value, creating the key; text is the value as the file has it: see [regString] and [regDword].
func (r *registry) set(key, name, text string) {
	s := r.find(key)
	if s == nil {
		escaped := strings.ReplaceAll(key, `\`, `\\`)
		s = &section{key: escaped, head: "[" + escaped + "] 0"}
		r.sections = append(r.sections, s)
	}
	quoted := "@"
	if name != "" {
		quoted = regString(name)
	}
	v := value{name: quoted, lines: []string{quoted + "=" + text}}
	for i := range s.values {
		if strings.EqualFold(s.values[i].name, quoted) {
			s.values[i] = v
			return
		}
	}
	s.values = append(s.values, v)
}

// get gives the text of a value as the file has it, empty when there is none.
func (r *registry) get(key, name string) string {
	if s := r.find(key); s != nil {
		for _, v := range s.values {
			if strings.EqualFold(v.name, regString(name)) {
				return strings.TrimPrefix(strings.Join(v.lines, "\n"), v.name+"=")
			}
		}
	}
	return ""
}

// unset removes a value, and says whether there was one.
func (r *registry) unset(key, name string) bool {
	s := r.find(key)
	if s == nil || !s.has(name) {
		return false
	}
	s.values = slices.DeleteFunc(s.values, func(v value) bool { return strings.EqualFold(v.name, regString(name)) })
	return true
}

// deleteKey removes a key and everything below it.
func (r *registry) deleteKey(key string) {
	key = strings.ToLower(strings.ReplaceAll(key, `\`, `\\`))
	kept := r.sections[:0]
	for _, s := range r.sections {
		if name := strings.ToLower(s.key); name != key && !strings.HasPrefix(name, key+`\\`) {
			kept = append(kept, s)
		}
	}
	r.sections = kept
}

// regString encodes a string of plain ASCII as the registry files do.
func regString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// regDword encodes a 32-bit number as the registry files do.
func regDword(n uint32) string { return fmt.Sprintf("dword:%08x", n) }
