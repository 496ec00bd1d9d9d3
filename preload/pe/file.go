package pe

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// FileError is an error of OpenFile: the path as it was given, and why. Its
// message is a sentence for the user, such as "notes.exe: not a Windows
// program: it is a text file".
type FileError struct {
	// Path is what OpenFile was asked for.
	Path string
	// Err is a *NotPEError, *TruncatedError, *FormatError, or the system's.
	Err error
}

func (e *FileError) Error() string { return e.Path + ": " + e.reason() }

func (e *FileError) reason() string {
	var path *fs.PathError
	switch {
	case errors.Is(e.Err, syscall.EISDIR):
		return "a directory, not a program"
	case errors.Is(e.Err, errNotRegular):
		return errNotRegular.Error()
	case errors.Is(e.Err, fs.ErrNotExist):
		return "no such file"
	case errors.As(e.Err, &path):
		return path.Err.Error()
	}
	return e.Err.Error()
}

// Unwrap returns the reason.
func (e *FileError) Unwrap() error { return e.Err }

var errNotRegular = errors.New("a device, pipe or socket, not a program")

// OpenFile opens the PE image in the file at path, and gives the file, too: the
// image is good until it is closed. Only regular files are opened.
//
// # Errors
//
// Always a *FileError, for which errors.Is(err, fs.ErrNotExist) tells a missing
// file from one that cannot be run.
func OpenFile(path string) (*Image, *os.File, error) {
	// Without O_NONBLOCK, a pipe of that name would hold the caller up.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, &FileError{Path: path, Err: err}
	}
	img, err := openRegular(f)
	if err != nil {
		f.Close()
		return nil, nil, &FileError{Path: path, Err: err}
	}
	return img, f, nil
}

func openRegular(f *os.File) (*Image, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, syscall.EISDIR
	case !info.Mode().IsRegular():
		return nil, errNotRegular
	}
	return Open(f, info.Size())
}
