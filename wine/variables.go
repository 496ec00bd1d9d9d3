package wine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
)

// twoForms are the variables that mean one thing to Linux and another to Windows. Wine hides those of its own environment
// from the program, and makes them of the same names with WINE before them.
var twoForms = []string{"PATH", "TEMP", "TMP", "HOME"}

// windowsVariables renames what is given for Windows programs. Of what has the form of Linux, PATH stays for the C library
// and the rest is dropped: it would be nonsense to a Windows program.
func windowsVariables(env map[string]string) {
	for name, value := range env {
		for _, special := range twoForms {
			if !strings.EqualFold(name, special) {
				continue
			}
			if windowsForm(value) {
				if before := env["WINE"+special]; special == "PATH" && before != "" {
					value += ";" + before
				}
				env["WINE"+special] = value
				delete(env, name)
			} else if name != "PATH" {
				delete(env, name)
			}
		}
	}
}

// lookUpFold finds a variable by its name without regard to case.
func lookUpFold(env map[string]string, name string) (string, bool) {
	for have, value := range env {
		if strings.EqualFold(have, name) {
			return value, true
		}
	}
	return "", false
}

// windowsForm tells a path of Windows, or a list of them, from one of Linux.
func windowsForm(value string) bool {
	return strings.ContainsAny(value, `\;`) || oci.HasDrive(value) || len(value) == 2 && oci.HasDrive(value+`\`)
}

// windowsValue gives a variable that is set in the form of Windows.
func windowsValue(env []string, name string) (value string, ok bool) {
	for _, setting := range env {
		if key, val, _ := strings.Cut(setting, "="); strings.EqualFold(key, name) && windowsForm(val) {
			value, ok = val, true
		}
	}
	return value, ok
}

// profile is the Linux path of a user's folder in the container, and home its Windows path.
func profile(user string) string { return path.Join(prefixDir, "drive_c/users", user) }

func home(user string) string { return `C:\users\` + user }

// makeProfile makes the folder of a user in a prefix, unless it is there: a link to the one that the template has.
func makeProfile(prefix *os.Root, user string, owner Owner) error {
	if user == User {
		return nil
	}
	for _, dir := range []string{"drive_c", "drive_c/users"} {
		if err := makeOwn(prefix, dir, owner); err != nil {
			return err
		}
	}
	if err := prefix.Symlink(User, path.Join("drive_c/users", user)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// maxPasswd bounds what is read of an image's passwd.
const maxPasswd = 1 << 20

// userName gives the Windows name of a container's user: what the image calls it, or else its number.
func userName(files *oci.Files, user specs.User) string {
	name := strconv.FormatUint(uint64(user.UID), 10)
	file, _, err := files.Open("/etc/passwd")
	if err != nil {
		if user.UID == 0 {
			return "root"
		}
		return name
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxPasswd))
	if err != nil {
		return name
	}
	return nameIn(string(text), name)
}

// nameIn finds the name of a user id in the text of a passwd (passwd(5)). A name that could be no folder of C:\users, or is
// one of Windows' own there, is not taken.
func nameIn(passwd, uid string) string {
	for line := range strings.Lines(passwd) {
		fields := strings.Split(line, ":")
		if len(fields) < 4 || fields[2] != uid {
			continue
		}
		const longest = 20 // of a Windows user name (Microsoft, "User name formats"; NetUserAdd)
		if name := fields[0]; len(name) <= longest && isUserName(name) {
			return name
		}
		break
	}
	return uid
}

// isUserName tells what can be a user of Windows with a folder in C:\users that is not one of Windows' own.
func isUserName(name string) bool {
	return name != "" && !strings.ContainsAny(name, `/\[];=,+@`) && checkName(name) == nil &&
		!slices.ContainsFunc([]string{"Public", "Default", "All Users", "Default User"}, func(own string) bool { return strings.EqualFold(own, name) })
}

// windowsUser is the Windows user of a container: process.user.username, less the domain of DOMAIN\name, or what
// [userName] finds.
func windowsUser(files *oci.Files, user specs.User) (string, error) {
	if user.Username == "" {
		return userName(files, user), nil
	}
	name := user.Username[strings.LastIndexByte(user.Username, '\\')+1:]
	const longest = 255 // of a file name on Linux; Windows has 256 letters (lmcons.h: UNLEN), as for ContainerAdministrator
	if len(name) > longest || !utf8.ValidString(name) || !isUserName(name) {
		return "", fmt.Errorf("process.user.username: %q cannot be a user of Windows with a folder in C:\\users", user.Username)
	}
	return name, nil
}
