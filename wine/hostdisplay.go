package wine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/wine/x11"
)

// hostDisplay is a display of the host's.
type hostDisplay interface {
	// graphics is what Wine calls the driver for it.
	graphics() string
	// mounts bring it in; made is the file on the host that make has written.
	mounts(made string) []specs.Mount
	// environment are the variables by which its clients find it.
	environment() map[string]string
	make(file string, foreign bool, uid, gid int) error
}

// waylandDisplay is the socket of a Wayland compositor.
type waylandDisplay string

// waylandSocket is where the container has it.
const waylandSocket = runDir + "/wayland"

// xDisplay is that of an X server.
type xDisplay struct {
	// number is that of the server, screen that of its screen, or empty.
	number, screen string
	// socket is where the server listens, cookie what it lets clients in for; nil when it asks for none.
	socket string
	cookie []byte
}

// authorityFile is where the container has the cookie, largestAuthority more than any file of them.
const (
	authorityFile    = runDir + "/xauthority"
	largestAuthority = 1 << 20
)

// FindHost fills in the display of whoever starts the container, if that is what is asked for: the one that DISPLAY and
// XAUTHORITY name, or, without it or when asked for, WAYLAND_DISPLAY and XDG_RUNTIME_DIR.
//
// # Errors
//
// There is none, it is not of this host, or the file with its cookie cannot be read.
func (d *Display) FindHost(getenv func(string) string) (err error) {
	if d.Kind != DisplayHost {
		return nil
	}
	x, wayland := getenv("DISPLAY"), getenv("WAYLAND_DISPLAY")
	switch {
	case wayland != "" && (d.Wayland || x == ""):
		d.host, err = findWayland(wayland, getenv("XDG_RUNTIME_DIR"))
	case d.Wayland:
		err = errors.New("there is no Wayland display of the host: WAYLAND_DISPLAY is not set")
	case x == "":
		err = errors.New("there is no display of the host: neither DISPLAY nor WAYLAND_DISPLAY is set")
	default:
		d.host, err = findX(x, getenv)
	}
	return err
}

// findWayland finds a compositor's socket: a path, or a name in the runtime directory (wl_display_connect of Wayland's
// client library).
func findWayland(name, runtimeDir string) (hostDisplay, error) {
	at := name
	if !path.IsAbs(at) {
		if !path.IsAbs(runtimeDir) {
			return nil, fmt.Errorf("WAYLAND_DISPLAY=%q: XDG_RUNTIME_DIR, which has its socket, is not set to an absolute path", name)
		}
		at = path.Join(runtimeDir, name)
	}
	socket, err := resolveSocket(at)
	if err != nil {
		return nil, fmt.Errorf("WAYLAND_DISPLAY=%q: no Wayland compositor of this host: %w", name, err)
	}
	return waylandDisplay(socket), nil
}

// resolveSocket follows symbolic links to a socket.
func resolveSocket(at string) (string, error) {
	socket, err := filepath.EvalSymlinks(at)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(socket)
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		err = fmt.Errorf("%s is not a socket", socket)
	}
	return socket, err
}

func (waylandDisplay) graphics() string { return "wayland" }

func (w waylandDisplay) mounts(string) []specs.Mount {
	return []specs.Mount{bindFile(string(w), waylandSocket)}
}

func (waylandDisplay) environment() map[string]string {
	return map[string]string{"WAYLAND_DISPLAY": waylandSocket}
}

// make does nothing: who may open the socket may use it.
func (waylandDisplay) make(string, bool, int, int) error { return nil }

// checkDisplay says whether a Wine can use a display.
func (r *Runtime) checkDisplay(d Display) error {
	if _, wayland := d.host.(waylandDisplay); wayland && !hasFile(r.files, path.Join(r.UnixDir, waylandModule)) {
		return fmt.Errorf("the host's display is Wayland's, for which Wine %s of the runtime has no driver (`winbox runtime build --wayland` makes one that has; with Xwayland, DISPLAY is enough)", r.Version)
	}
	return nil
}

func findX(name string, getenv func(string) string) (hostDisplay, error) {
	rest, local := strings.CutPrefix(strings.TrimPrefix(name, "unix"), ":")
	number, screen, _ := strings.Cut(rest, ".")
	h := &xDisplay{number: number, screen: screen}
	_, errNumber := strconv.ParseUint(number, 10, 16)
	_, errScreen := strconv.ParseUint(screen, 10, 16)
	if !local || errNumber != nil || errScreen != nil && screen != "" {
		return nil, fmt.Errorf("DISPLAY=%q: only a display of this host can be shared, such as :0", name)
	}
	var err error
	if h.socket, err = resolveSocket(path.Join(socketDir, "X"+number)); err != nil {
		return nil, fmt.Errorf("DISPLAY=%q: no X server of this host: %w", name, err)
	}
	h.cookie, err = findCookie(getenv, number)
	return h, err
}

// findCookie reads the caller's cookie for a display; a server may do without.
func findCookie(getenv func(string) string, number string) ([]byte, error) {
	file := getenv("XAUTHORITY")
	if file == "" {
		file = filepath.Join(getenv("HOME"), ".Xauthority")
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the display's cookie: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largestAuthority))
	if err != nil {
		return nil, fmt.Errorf("the display's cookie: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	cookie, err := x11.FindCookie(data, host, number)
	if err != nil {
		return nil, fmt.Errorf("the display's cookie: %s: %w", file, err)
	}
	return cookie, nil
}

func (*xDisplay) graphics() string { return "x11" }

// mounts are the server's socket and the cookie, which is in a file of the container's own: that of the caller may have
// others.
func (h *xDisplay) mounts(made string) []specs.Mount {
	return []specs.Mount{
		bindFile(h.socket, path.Join(socketDir, "X"+h.number)),
		bindFile(made, authorityFile),
	}
}

func (h *xDisplay) environment() map[string]string {
	name := ":" + h.number
	if h.screen != "" {
		name += "." + h.screen
	}
	return map[string]string{"DISPLAY": name, "XAUTHORITY": authorityFile}
}

// make writes the file with the cookie.
func (h *xDisplay) make(file string, foreign bool, uid, gid int) error {
	var data []byte
	if h.cookie != nil {
		data = x11.Authority(h.cookie, h.number)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil || !foreign {
		return err
	}
	return os.Lchown(file, uid, gid)
}
