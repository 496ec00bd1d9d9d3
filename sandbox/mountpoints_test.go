package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestMountPoints checks which mount points are taken away with a container, on an overlay and on a folder of the host.
func TestMountPoints(t *testing.T) {
	dir := t.TempDir()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and its mount namespace ends with it
		done <- func() error {
			if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", dir, "tmpfs", 0, "")); err != nil {
				return err
			}
			return mountPoints(t, dir)
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func mountPoints(t *testing.T, dir string) error {
	at := func(p string) string { return filepath.Join(dir, p) }
	root := at("root")
	for _, d := range []string{"lower/app", "lower/old/empty", "lower/real", "upper", "work", "root", "outside/b"} {
		if err := os.MkdirAll(at(d), 0o755); err != nil {
			return err
		}
	}
	mounts := []specs.Mount{
		{Destination: "/usr/lib/wine"}, {Destination: "/usr/lib/wine/below"}, {Destination: "/usr/share"}, {Destination: "/old/empty"}, {Destination: "/app/mine/x"},
		{Destination: "/link/b"}, {Destination: "/lib64/file"}, {Destination: "/full"}, {Destination: "/.."},
	}
	if got := absentMountPoints(at("lower"), mounts); got != nil {
		t.Errorf("of a folder of the host: %q", got)
	}
	options := "lowerdir=" + at("lower") + ",upperdir=" + at("upper") + ",workdir=" + at("work")
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return err
	}
	made := absentMountPoints(root, mounts)
	want := strings.Fields("/usr /usr/lib /usr/lib/wine /usr/share /app/mine /app/mine/x /link /link/b /lib64 /lib64/file /full")
	if !slices.Equal(made, want) {
		t.Errorf("absent: %q, want %q", made, want)
	}
	for _, d := range []string{"usr/lib/wine", "usr/share", "app/mine/x", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	// A file, one that has come to hold something, and what the program has put there instead.
	if err := errors.Join(os.WriteFile(filepath.Join(root, "lib64/file"), nil, 0o644), os.WriteFile(filepath.Join(root, "full"), []byte("x"), 0o644),
		os.WriteFile(filepath.Join(root, "app/mine/y"), nil, 0o644), os.Symlink(at("outside"), filepath.Join(root, "link"))); err != nil {
		return err
	}
	removeMountPoints(root, made)
	var left []string
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		left = append(left, strings.TrimPrefix(p, root))
		return err
	})
	if want := strings.Fields("/app /app/mine /app/mine/y /full /link /old /old/empty /real"); !slices.Equal(left[1:], want) {
		t.Errorf("left: %q, want %q", left[1:], want)
	}
	if _, err := os.Stat(at("outside/b")); err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(root, 0); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(root, "full"), 0o755); err != nil {
		return err
	}
	removeMountPoints(root, made)
	if _, e := os.Stat(filepath.Join(root, "full")); e != nil {
		t.Errorf("below an overlay that is unmounted: %v", e)
	}
	return err
}
