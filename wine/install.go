package wine

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
)

// installHint gives the command that installs the part of Wine for a machine on the distribution of /etc/os-release.
func installHint(root, machine string) string {
	id, like := osRelease(filepath.Join(root, "etc/os-release"))
	for _, name := range append([]string{id}, like...) {
		switch name {
		case "debian", "ubuntu":
			if machine == I386 {
				return "install it with `dpkg --add-architecture i386 && apt-get update && apt-get install wine32:i386`"
			}
			return "install it with `apt-get install wine64`"
		case "fedora":
			if machine == I386 {
				return "install it with `dnf install wine-core.i686`"
			}
			return "install it with `dnf install wine-core`"
		case "arch":
			return "install it with `pacman -S wine`"
		case "opensuse", "suse":
			if machine == I386 {
				return "install it with `zypper install wine-32bit`"
			}
			return "install it with `zypper install wine`"
		case "alpine":
			return "Alpine's Wine is built for musl and not supported: use a distribution with glibc"
		}
	}
	return "install the Wine of your distribution, or a package from https://dl.winehq.org/"
}

// osRelease reads ID and ID_LIKE (os-release(5)).
func osRelease(name string) (id string, like []string) {
	f, err := os.Open(name)
	if err != nil {
		return "", nil
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		key, value, _ := strings.Cut(sc.Text(), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			id = value
		case "ID_LIKE":
			like = strings.Fields(value)
		}
	}
	return id, like
}
