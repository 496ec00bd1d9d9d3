package wine

import (
	"testing"

	"golang.org/x/sys/unix"

	"winbox/preload"
	"winbox/preload/pe"
)

// TestStops checks what becomes of signals.
func TestStops(t *testing.T) {
	r := &Runtime{Version: "10.0", Loader64: "/wine64", Preloader64: "/wine64-preloader", Windows32Dir: "/i386-windows"}
	image := func(machine string, process pe.Machine, console bool) *Image {
		return &Image{Machine: machine, Layout: &preload.Layout{Process: process}, console: console}
	}
	console, window := image(AMD64, pe.MachineAMD64, true), image(AMD64, pe.MachineAMD64, false)
	for _, test := range []struct {
		image  *Image
		stop   Stop
		signal unix.Signal
		want   Stop
	}{
		{console, StopDefault, unix.SIGTERM, StopCtrlShutdown},
		{console, StopDefault, unix.SIGINT, StopCtrlC},
		{console, StopDefault, unix.SIGHUP, StopCtrlClose},
		{console, StopDefault, unix.SIGQUIT, StopCtrlBreak},
		{console, StopDefault, unix.SIGUSR1, ""},
		{console, StopCtrlClose, unix.SIGINT, StopCtrlClose},
		{console, StopKill, unix.SIGTERM, ""},
		{window, StopDefault, unix.SIGINT, StopCloseWindows},
		{window, StopCtrlC, unix.SIGTERM, StopCtrlC},
		// The first process is a 64-bit one.
		{image(I386, pe.MachineAMD64, true), StopDefault, unix.SIGTERM, StopCtrlShutdown},
	} {
		stops, err := r.Stops(test.image, test.stop)
		if err != nil {
			t.Errorf("%q: %v", test.stop, err)
			continue
		}
		args := stops[test.signal]
		if test.want == "" {
			if args != nil {
				t.Errorf("%q, %v: %q, want none", test.stop, test.signal, args)
			}
			continue
		}
		if len(args) != 4 || args[0] != r.Preloader64 || args[1] != r.Loader64 || args[2] != "/run/winbox/stop.amd64.exe" || args[3] != string(test.want) {
			t.Errorf("%q, %v: %q, want %s", test.stop, test.signal, args, test.want)
		}
	}
	if _, err := r.Stops(console, "term"); err == nil {
		t.Error("an unknown value is taken")
	}
}
