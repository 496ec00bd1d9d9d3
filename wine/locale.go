package wine

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Wine takes the user's locale from the name of the C library's, and the encoding of file names from its character set. Of
// the C library's locale it needs nothing else: dates and numbers are in Wine's own files. So every locale is C.UTF-8 under
// another name.

// A locale is the name of a C library's locale, with its character set: `de_DE.UTF-8`.
type locale string

const plainLocale locale = "C.UTF-8"

// localeNames is where containers have the locale with the name that was asked for.
const localeNames = runDir + "/locale"

// localePattern is how the names of locales look (ISO/IEC 15897; glibc's manual, "Locale Names").
var localePattern = pattern(`^([a-z]{2,3}(?:_[A-Z]{2,3}|_[0-9]{3})?)(?:\.[A-Za-z0-9-]+)?(@[A-Za-z]+)?$`)

// localeOf gives the locale that variables ask for, in the order of the C library (locale(7)). When that is no locale's name,
// it is C.UTF-8 and ok is false.
func localeOf(env map[string]string) (l locale, ok bool) {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		value := env[name]
		switch upper := strings.ToUpper(value); {
		case value == "":
			continue
		case upper == "C" || upper == "POSIX" || strings.HasPrefix(upper, "C."):
			return plainLocale, true
		}
		match := localePattern().FindStringSubmatch(value)
		if match == nil {
			return plainLocale, false
		}
		return locale(match[1] + ".UTF-8" + match[2]), true
	}
	return plainLocale, true
}

// set has Wine use the locale.
func (l locale) set(env map[string]string) {
	for _, category := range []string{"LC_CTYPE", "LC_MESSAGES"} { // LC_ALL goes before them
		delete(env, category)
	}
	env["LC_ALL"] = string(l)
	if l != plainLocale {
		env["LOCPATH"] = localeNames
	}
	if env["LANG"] == "" {
		env["LANG"] = string(l)
	}
}

// mounts gives the locale its name in a container.
func (l locale) mounts(t *Template) ([]specs.Mount, error) {
	if l == plainLocale {
		return nil, nil
	}
	source := filepath.Join(t.Root(), localeDir)
	if !isFolder(source) {
		return nil, fmt.Errorf("locale %s: the runtime %s has no %s to make it of", l, t.Runtime.Name, localeDir)
	}
	return []specs.Mount{bindFile(source, path.Join(localeNames, string(l)))}, nil
}
