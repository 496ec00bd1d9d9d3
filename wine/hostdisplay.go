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

// hostDisplay is an X display of the host's.
type hostDisplay struct {
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

// FindHost fills in the display of whoever starts the container, which DISPLAY and XAUTHORITY name, if that is what is
// asked for.
//
// # Errors
//
// There is none, it is not of this host, or the file with its cookie cannot be read.
func (d *Display) FindHost(getenv func(string) string) (err error) {
	if d.Kind == DisplayHost {
		d.host, err = findHostDisplay(getenv)
	}
	return err
}

func findHostDisplay(getenv func(string) string) (*hostDisplay, error) {
	name := getenv("DISPLAY")
	if name == "" && getenv("WAYLAND_DISPLAY") != "" {
		return nil, errors.New("the display of the host is Wayland's (WAYLAND_DISPLAY), which Wine is not given by this version of winbox: it needs an X server such as Xwayland, and its name in DISPLAY")
	}
	if name == "" {
		return nil, errors.New("there is no display of the host: DISPLAY is not set")
	}
	rest, local := strings.CutPrefix(strings.TrimPrefix(name, "unix"), ":")
	number, screen, _ := strings.Cut(rest, ".")
	h := &hostDisplay{number: number, screen: screen}
	_, errNumber := strconv.ParseUint(number, 10, 16)
	_, errScreen := strconv.ParseUint(screen, 10, 16)
	if !local || errNumber != nil || errScreen != nil && screen != "" {
		return nil, fmt.Errorf("DISPLAY=%q: only a display of this host can be shared, such as :0", name)
	}
	var err error
	if h.socket, err = filepath.EvalSymlinks(path.Join(socketDir, "X"+number)); err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(h.socket); err == nil && info.Mode().Type() != fs.ModeSocket {
			err = fmt.Errorf("%s is not a socket", h.socket)
		}
	}
	if err != nil {
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

// mounts are the server's socket and the cookie, which is in a file of the container's own: that of the caller may have
// others. made is the file on the host.
func (h *hostDisplay) mounts(made string) []specs.Mount {
	return []specs.Mount{
		bindFile(h.socket, path.Join(socketDir, "X"+h.number)),
		bindFile(made, authorityFile),
	}
}

// environment are the variables by which X clients find the display.
func (h *hostDisplay) environment() map[string]string {
	name := ":" + h.number
	if h.screen != "" {
		name += "." + h.screen
	}
	return map[string]string{"DISPLAY": name, "XAUTHORITY": authorityFile}
}

// make writes the file with the cookie.
func (h *hostDisplay) make(file string, foreign bool, uid, gid int) error {
	var data []byte
	if h.cookie != nil {
		data = x11.Authority(h.cookie, h.number)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil || !foreign {
		return err
	}
	return os.Lchown(file, uid, gid)
}
