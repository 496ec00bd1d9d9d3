package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/internal/leanjson"
)

// maxConfig bounds config.json; engines write a few tens of KiB.
const maxConfig = 8 << 20

// Bundle is a directory with a config.json (runtime-spec, bundle.md).
type Bundle struct {
	Dir  string // absolute path
	Spec *specs.Spec
	// Seccomp is the text of the section linux.seccomp, not yet checked, in place of
	// which Spec has one that cannot be used ([DecodeSeccomp]); nil: the one in Spec
	// counts, if any.
	Seccomp []byte
}

// Load reads the bundle at dir, but for the section linux.seccomp ([Bundle.Seccomp]).
//
// # Errors
//
// The file is missing, larger than 8 MiB, not JSON, of a wrong type somewhere
// or of a version other than 1.x; each error names file and field.
func Load(dir string) (*Bundle, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", dir, err)
	}
	file := filepath.Join(abs, "config.json")
	f, err := os.Open(file)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("JSON specification file %s not found (is %s an OCI bundle?)", file, abs)
		}
		return nil, err
	}
	defer f.Close()
	b := &Bundle{Dir: abs}
	data, err := read(f)
	if err == nil {
		data, b.Seccomp = CutSeccomp(data)
		b.Spec, err = decodeSpec(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return b, nil
}

// Decode reads and checks a config.json.
func Decode(r io.Reader) (*specs.Spec, error) {
	data, err := read(r)
	if err != nil {
		return nil, err
	}
	return decodeSpec(data)
}

func decodeSpec(data []byte) (*specs.Spec, error) {
	var spec specs.Spec
	if err := leanjson.Unmarshal(data, &spec); err != nil {
		return nil, err
	}
	if err := check(&spec); err != nil {
		return nil, err
	}
	return &spec, nil
}

// DecodeResources reads the section linux.resources alone, as engines hand it
// to update.
func DecodeResources(r io.Reader) (*specs.LinuxResources, error) {
	data, err := read(r)
	if err != nil {
		return nil, err
	}
	var res specs.LinuxResources
	if err := leanjson.Unmarshal(data, &res); err != nil {
		return nil, err
	}
	return &res, nil
}

// read reads JSON of bounded size.
func read(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("larger than %d bytes", maxConfig)
	}
	return data, err
}

// VersionAtLeast tells whether a version of the specification, that of a bundle, is
// major.minor or later; a pre-release counts as the release. What names no minor
// version is taken for the latest.
func VersionAtLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	second, _, _ = strings.Cut(second, "-")
	m, err := strconv.Atoi(first)
	n, minorErr := strconv.Atoi(second)
	if err != nil || minorErr != nil {
		return true
	}
	return m > major || m == major && n >= minor
}

// HasDrive says whether a path begins with a drive letter, as Windows writes absolute paths. Only Windows containers can
// have one.
func HasDrive(name string) bool {
	return len(name) > 2 && name[1] == ':' && (name[2] == '\\' || name[2] == '/') && 'a' <= name[0]|0x20 && name[0]|0x20 <= 'z'
}

// check makes sure of what every container needs; what concerns the set-up is
// checked where it is compiled.
func check(spec *specs.Spec) error {
	major, _, _ := strings.Cut(spec.Version, ".")
	if n, err := strconv.Atoi(major); err != nil || n != 1 {
		return fmt.Errorf("ociVersion: %q is not supported (winbox implements 1.0 to %s)", spec.Version, specs.Version)
	}
	switch {
	case spec.Root == nil || spec.Root.Path == "":
		return errors.New("root.path: missing")
	case spec.Process == nil:
		return errors.New("process: missing")
	case spec.Process.CommandLine == "" && (len(spec.Process.Args) == 0 || spec.Process.Args[0] == ""):
		return errors.New("process.args: empty")
	case !filepath.IsAbs(spec.Process.Cwd) && !HasDrive(spec.Process.Cwd):
		return fmt.Errorf("process.cwd: %q is not an absolute path", spec.Process.Cwd)
	case spec.Linux == nil && spec.Windows == nil:
		return errors.New("linux: missing")
	case strings.ContainsRune(spec.Process.CommandLine, 0):
		return errors.New("process.commandLine: contains a zero byte")
	}
	for i, s := range spec.Process.Args {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("process.args[%d]: contains a zero byte", i)
		}
	}
	for i, s := range spec.Process.Env {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("process.env[%d]: contains a zero byte", i)
		}
	}
	return nil
}
