package wine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// DisplayKind says where the windows of a container's programs are.
type DisplayKind string

const (
	// DisplayNone is Wine's null driver: windows exist, and nobody sees them. It is the default.
	DisplayNone DisplayKind = "none"
	// DisplayVirtual is an X server of the container's own, which has no screen but in memory.
	DisplayVirtual DisplayKind = "virtual"
	// DisplayHost is the display of whoever starts the container.
	DisplayHost DisplayKind = "host"
)

// A Display is a kind of display and, for a virtual one, its screen. The zero value is none.
type Display struct {
	Kind DisplayKind
	// Width and Height are the pixels of a virtual display's screen, Depth the bits of a pixel that are colour.
	Width, Height, Depth int
	// VNC has the virtual display's server speak to VNC clients, at the socket of [Scratch.DialVNC].
	VNC bool
	// Wayland takes the host's Wayland display also when there is one of X.
	Wayland bool

	// host is that of [DisplayHost], once [Display.FindHost] has found it.
	host hostDisplay
}

// The largest screen takes 64 MiB; the smallest is what Wine still makes a desktop of.
const (
	smallestScreen = 64
	largestScreen  = 4096
)

// ParseDisplay reads `none`, `host`, `host=wayland`, `virtual` or `virtual=WIDTHxHEIGHT[xDEPTH]`. The empty string is none, and a
// virtual screen is 1024x768x24 unless it is said.
func ParseDisplay(s string) (Display, error) {
	kind, screen, sized := strings.Cut(s, "=")
	switch d := (Display{Kind: DisplayKind(kind)}); {
	case s == "", s == string(DisplayNone):
		return Display{}, nil
	case s == string(DisplayHost):
		return d, nil
	case d.Kind == DisplayHost && screen == "wayland":
		d.Wayland = true
		return d, nil
	case d.Kind != DisplayVirtual:
		return Display{}, fmt.Errorf("%q is none of none, virtual, virtual=WIDTHxHEIGHTxDEPTH, host and host=wayland", s)
	case !sized:
		d.Width, d.Height, d.Depth = 1024, 768, 24
		return d, nil
	default:
		return d.size(screen)
	}
}

// size reads WIDTHxHEIGHT[xDEPTH].
func (d Display) size(screen string) (Display, error) {
	d.Depth = 24
	parts := strings.Split(screen, "x")
	fields := []*int{&d.Width, &d.Height, &d.Depth}
	if len(parts) < 2 || len(parts) > len(fields) {
		return Display{}, fmt.Errorf("screen %q: want WIDTHxHEIGHT or WIDTHxHEIGHTxDEPTH, such as 1024x768x24", screen)
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return Display{}, fmt.Errorf("screen %q: %q is not a number of pixels or bits", screen, part)
		}
		*fields[i] = int(n)
	}
	if min(d.Width, d.Height) < smallestScreen || max(d.Width, d.Height) > largestScreen {
		return Display{}, fmt.Errorf("screen %q: width and height must be from %d to %d", screen, smallestScreen, largestScreen)
	}
	if d.Depth != 16 && d.Depth != 24 {
		return Display{}, fmt.Errorf("screen %q: the depth must be 16 or 24 bits", screen)
	}
	return d, nil
}

// The X server of a container has a root directory of its own, with the host's files that it needs and nothing of the
// container's: neither must the container's C library fit it, nor has the container to have a shell, by which it starts
// the compiler of its keyboard map.
const (
	displayDir = runDir + "/display"
	// socketDir is where X servers and their clients meet, by a convention of the X library's (xtrans).
	socketDir = "/tmp/.X11-unix"
	// displayNumber is none that a desktop has: with the host's network, clients look for an abstract socket of the number
	// first, and must not find another server.
	displayNumber = 1000
	vncSocket     = "vnc"
)

// displayServer are the files of the host that the server of a virtual display needs.
type displayServer struct {
	name    string // "Xvfb"
	program string
	mounts  []specs.Mount
}

// findDisplayServer finds them.
func findDisplayServer(d Display) (*displayServer, error) {
	s := &displayServer{name: "Xvfb"}
	names, install := []string{"Xvfb"}, "Debian: `apt-get install xvfb`"
	if d.VNC {
		// Not Xvnc first, which on Debian may be another program of that name.
		names, install = []string{"Xtigervnc", "Xvnc"}, "Debian: `apt-get install tigervnc-standalone-server`"
	}
	for _, name := range names {
		if at := path.Join("/usr/bin", name); isFile(at) && s.program == "" {
			s.name, s.program = name, at
		}
	}
	if s.program == "" {
		return nil, fmt.Errorf("a virtual display%s needs %s of the host, which is not installed (%s)", map[bool]string{true: " with VNC"}[d.VNC], names[0], install)
	}
	for _, needed := range []struct{ at, hint string }{
		{s.program, install},
		{"/usr/bin/xkbcomp", "Debian: `apt-get install x11-xkb-utils`"},
		{"/usr/share/X11/xkb", "Debian: `apt-get install xkb-data`"},
		{"/bin/sh", "the shell of the distribution"}, // the server starts xkbcomp by it
		{interpreters[0], "the C library of the distribution"},
	} {
		source, err := filepath.EvalSymlinks(needed.at)
		if err != nil || !isFile(source) && !isFolder(source) {
			return nil, fmt.Errorf("a virtual display needs %s of the host, which is not installed (%s)", needed.at, needed.hint)
		}
		s.mounts = append(s.mounts, bindFile(source, displayDir+needed.at))
	}
	for _, dir := range libraryDirs {
		if hasFile(hostFiles("/"), path.Join(dir, "libc.so.6")) {
			m := bindFile(dir, displayDir+dir)
			m.Options = []string{"rbind", "rro", "rnosuid", "rnodev", "rprivate"}
			s.mounts = append(s.mounts, m)
			return s, nil
		}
	}
	return nil, errors.New("a virtual display: no libc.so.6 found on this host")
}

// command is the server's command line.
func (s *displayServer) command(d Display) []string {
	size := fmt.Sprintf("%dx%d", d.Width, d.Height)
	args := []string{s.program, fmt.Sprintf(":%d", displayNumber), "-displayfd", "1", "-nolisten", "tcp", "-nolisten", "local", "-noreset",
		"-extension", "GLX"} // which loads a compiler of shaders
	if d.VNC {
		return append(args, "-geometry", size, "-depth", strconv.Itoa(d.Depth), "-SecurityTypes", "None", "-rfbport", "-1",
			"-rfbunixpath", path.Join(socketDir, vncSocket), "-rfbunixmode", "0600")
	}
	return append(args, "-screen", "0", fmt.Sprintf("%sx%d", size, d.Depth))
}

// A Helper is a server that runs in the container beside the program: package sandbox/program says how.
type Helper struct {
	Name, Root string
	Args, Env  []string
}

// Helpers are those of a display.
//
// # Errors
//
// The host lacks the display's server; the error says what to install.
func (d Display) Helpers() ([]Helper, error) {
	if d.Kind != DisplayVirtual {
		return nil, nil
	}
	s, err := findDisplayServer(d)
	if err != nil {
		return nil, err
	}
	return []Helper{{Name: "the display server " + s.name, Root: displayDir, Args: s.command(d), Env: []string{"HOME=/"}}}, nil
}

// displayMounts brings in the server's files and, for it and for the programs, the folder of its sockets, which is one of
// the scratch folder's: by that, and not by way of the container, winbox reaches the server.
func (s Scratch) displayMounts(d Display) ([]specs.Mount, error) {
	if d.host != nil {
		return d.host.mounts(s.authority()), nil
	}
	if d.Kind != DisplayVirtual {
		return nil, nil
	}
	server, err := findDisplayServer(d)
	if err != nil {
		return nil, err
	}
	tmpfs := func(at, size, mode string) specs.Mount {
		return specs.Mount{Destination: at, Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "size=" + size, "mode=" + mode}}
	}
	mounts := append([]specs.Mount{tmpfs(displayDir, "64k", "755"), tmpfs(displayDir+"/tmp", "1m", "1777")}, server.mounts...)
	for _, at := range []string{displayDir + socketDir, socketDir} {
		mounts = append(mounts, specs.Mount{
			Destination: at, Type: "bind", Source: s.sockets(), Options: []string{"bind", "nosuid", "nodev", "noexec", "rprivate"}})
	}
	return mounts, nil
}

// environment are the variables by which the programs of a container find its display.
func (d Display) environment() map[string]string {
	if d.host != nil {
		return d.host.environment()
	}
	if d.Kind != DisplayVirtual {
		return nil
	}
	return map[string]string{"DISPLAY": fmt.Sprintf(":%d", displayNumber)}
}

// makeDisplay makes what the mounts of a display show, for a program that is another user than the caller if foreign.
func (s Scratch) makeDisplay(d Display, foreign bool, uid, gid int) error {
	if d.host != nil {
		return d.host.make(s.authority(), foreign, uid, gid)
	}
	if d.Kind != DisplayVirtual {
		return nil
	}
	// The server opens the folder to everybody, as a folder of many servers' sockets has to be. This one is not for other
	// users of the host: they do not get as far.
	if err := os.Mkdir(filepath.Dir(s.sockets()), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(s.sockets(), 0o700); err != nil {
		return err
	}
	if !foreign {
		return nil
	}
	return os.Lchown(s.sockets(), uid, gid)
}

// sockets is the folder of the display's sockets.
func (s Scratch) sockets() string { return filepath.Join(string(s), "display", "sockets") }

// authority is the file with the cookie of the host's display.
func (s Scratch) authority() string { return filepath.Join(string(s), "xauthority") }

// driver are Wine's settings for a display, below HKEY_CURRENT_USER. An empty text removes a value.
func (d Display) driver() []keySetting {
	const drivers, x11 = `Software\Wine\Drivers`, `Software\Wine\X11 Driver`
	switch d.Kind {
	case DisplayVirtual:
		// Nobody manages windows there: Wine draws their frames and puts them one above the other by itself.
		return []keySetting{{drivers, "Graphics", regString("x11")}, {x11, "Managed", regString("N")}}
	case DisplayHost:
		return []keySetting{{drivers, "Graphics", regString(d.host.graphics())}, {x11, "Managed", ""}}
	}
	return []keySetting{{drivers, "Graphics", regString("null")}}
}

// keySetting is a value and the key that it is in.
type keySetting struct{ key, name, text string }

// setDisplay changes a user's registry file to fit a display. The result is nil when it does already.
func setDisplay(data []byte, d Display) ([]byte, error) {
	r, err := parseRegistry(data)
	if err != nil {
		return nil, err
	}
	changed := false
	for _, v := range d.driver() {
		if v.text == "" {
			changed = r.unset(v.key, v.name) || changed
		} else if r.get(v.key, v.name) != v.text {
			r.set(v.key, v.name, v.text)
			changed = true
		}
	}
	if !changed {
		return nil, nil
	}
	return r.Bytes(), nil
}

// userRegistry is the file of HKEY_CURRENT_USER in a prefix.
const userRegistry = "user.reg"

// writeRegistry puts the user's registry for a display into a new prefix, or the upper layer of one. Without a display
// it is the template's own.
func (t *Template) writeRegistry(prefix *os.Root, d Display, owner Owner) error {
	if d.Kind == "" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(t.Prefix(), userRegistry))
	if err != nil {
		return err
	}
	if data, err = setDisplay(data, d); data == nil || err != nil {
		return err
	}
	return replaceFile(prefix, userRegistry, data, owner)
}

// displayVariables are those of [Display.environment], of a process that has them.
func displayVariables(env []string) map[string]string {
	found := make(map[string]string)
	for _, setting := range env {
		if name, value, _ := strings.Cut(setting, "="); name == "DISPLAY" || name == "XAUTHORITY" || name == "WAYLAND_DISPLAY" {
			found[name] = value
		}
	}
	return found
}

// DialDisplay connects to the server of the container's virtual display as an X client does.
//
// # Errors
//
// Wraps [fs.ErrNotExist] when the container has no virtual display.
func (s Scratch) DialDisplay(ctx context.Context) (net.Conn, error) {
	return s.dial(ctx, fmt.Sprintf("X%d", displayNumber))
}

// DialVNC connects to the server of the container's virtual display as a VNC client does.
func (s Scratch) DialVNC(ctx context.Context) (net.Conn, error) { return s.dial(ctx, vncSocket) }

func (s Scratch) dial(ctx context.Context, name string) (net.Conn, error) {
	f, err := s.openSocket(name)
	if err != nil {
		return nil, fmt.Errorf("the display's socket %s: %w", name, err)
	}
	defer f.Close()
	// By way of the descriptor: what has been looked at is what is connected to, and the path is short enough (unix(7)).
	conn, err := new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("the display's socket %s: %w", name, err)
	}
	return conn, nil
}

// openSocket opens a socket of the virtual display's without connecting to it. What lies in the folder is the container's
// doing: anything else than a socket is refused, and no link followed.
func (s Scratch) openSocket(name string) (*os.File, error) {
	dir, err := unix.Open(s.sockets(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if info, err := f.Stat(); err != nil || info.Mode().Type() != fs.ModeSocket {
		f.Close()
		return nil, errors.Join(err, errors.New("not a socket"))
	}
	return f, nil
}
