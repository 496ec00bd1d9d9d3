package wine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A Program is a PE file to launch.
type Program struct {
	// Host is the file on the host, symbolic links resolved: what to read headers from.
	Host string
	// Windows is the program's path in the container when it is one of Windows' own (`C:\windows\system32\cmd.exe`).
	// It is empty for a program of the host's, whose path depends on the drives.
	Windows string
}

// Find resolves the name of a program as given on a command line: a path on the host, relative to dir; or a path on
// drive C: of the prefix (the template's when prefix is empty or not made yet); or the bare name of one of Windows' own programs, such as `cmd` or `reg`. A file of the
// host goes before a program of Windows with the same name.
//
// It does not look into the file: whoever reads the PE headers says what is wrong with it.
//
// # Errors
//
// Wraps [fs.ErrNotExist] when there is nothing of that name, and says so for a directory.
func (t *Template) Find(name, dir, prefix string) (Program, error) {
	driveC := t.driveC()
	if prefix != "" && isPrefix(prefix) {
		driveC = filepath.Join(prefix, "drive_c")
	}
	if name == "" {
		return Program{}, errors.New("no program given")
	}
	bare := !strings.ContainsAny(name, `/\:`)
	if drive, err := parseTarget(name); err == nil && drive.drive == 'c' {
		return t.findWindows(driveC, matchCase(driveC, drive.parts), name)
	}
	spellings := []string{name, strings.ReplaceAll(name, `\`, "/")}
	if filepath.Ext(name) == "" {
		spellings = append(spellings, name+".exe") // as in a Windows command line
	}
	for _, spelled := range spellings {
		file := spelled
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		info, err := os.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return Program{}, fmt.Errorf("program %s: %w", name, err)
		case info.IsDir() && bare:
			continue // a folder `cmd` does not hide the command
		case info.IsDir():
			return Program{}, fmt.Errorf("program %s: is a directory", name)
		case !info.Mode().IsRegular():
			return Program{}, fmt.Errorf("program %s: not a regular file", name)
		}
		resolved, err := filepath.EvalSymlinks(file)
		if err != nil {
			return Program{}, fmt.Errorf("program %s: %w", name, err)
		}
		resolved, err = filepath.Abs(resolved)
		if err != nil {
			return Program{}, fmt.Errorf("program %s: %w", name, err)
		}
		return Program{Host: resolved}, nil
	}
	if bare {
		for _, folder := range []string{"windows/system32", "windows"} {
			for _, suffix := range []string{".exe", ""} {
				file, ok := lookUp(filepath.Join(driveC, folder), name+suffix)
				if at, err := t.follow(filepath.Join(driveC, folder, file)); ok && err == nil && isFile(at) {
					return t.findWindows(driveC, filepath.Join(folder, file), name)
				}
			}
		}
	}
	if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.IsDir() {
		return Program{}, fmt.Errorf("program %s: is a directory", name)
	}
	return Program{}, fmt.Errorf("program %s: %w", name, fs.ErrNotExist)
}

// findWindows makes a Program of a path relative to drive C:.
func (t *Template) findWindows(driveC, rel, name string) (Program, error) {
	host, err := t.follow(filepath.Join(driveC, rel))
	if err != nil {
		return Program{}, fmt.Errorf("program %s: %w", name, err)
	}
	if !isFile(host) {
		return Program{}, fmt.Errorf("program %s: not a regular file", name)
	}
	return Program{Host: host, Windows: `C:\` + strings.ReplaceAll(rel, "/", `\`)}, nil
}

// follow gives the file of the host's that a path in a prefix leads to: Windows' own programs are links to the Wine of
// the container, which has it at its usual place, and the host where the runtime is.
func (t *Template) follow(name string) (string, error) {
	folder, err := filepath.EvalSymlinks(filepath.Dir(name))
	if err != nil {
		return "", err
	}
	name = filepath.Join(folder, filepath.Base(name))
	if to, err := os.Readlink(name); err == nil && filepath.IsAbs(to) {
		for _, dir := range []string{t.Runtime.WindowsDir, t.Runtime.Windows32Dir} {
			if dir != "" && path.Dir(to) == inPrefix(dir) {
				to = path.Join(dir, path.Base(to))
			}
		}
		name = filepath.Join(t.Runtime.root, to)
	}
	return filepath.EvalSymlinks(name)
}

// isFile says whether a path leads to a regular file.
func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// isFolder says whether a path leads to a directory.
func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
