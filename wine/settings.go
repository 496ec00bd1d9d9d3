package wine

// Windows 10, as Wine's own `winecfg -v win10` sets it: programs of today refuse the Windows 7 that a prefix of Wine 8
// says it is.
const (
	windowsMajor   = 10
	windowsMinor   = 0
	windowsBuild   = "19043"
	windowsName    = "Microsoft Windows 10"
	windowsVersion = "6.3" // what the value CurrentVersion stays at since Windows 8.1
)

// editSystem sets HKEY_LOCAL_MACHINE.
func editSystem(r *registry) {
	for _, software := range []string{`Software`, `Software\Wow6432Node`} {
		key := software + `\Microsoft\Windows NT\CurrentVersion`
		if r.find(key) == nil {
			continue
		}
		r.set(key, "CSDVersion", regString(""))
		r.set(key, "CurrentBuild", regString(windowsBuild))
		r.set(key, "CurrentBuildNumber", regString(windowsBuild))
		r.set(key, "CurrentVersion", regString(windowsVersion))
		r.set(key, "CurrentMajorVersionNumber", regDword(windowsMajor))
		r.set(key, "CurrentMinorVersionNumber", regDword(windowsMinor))
		r.set(key, "ProductName", regString(windowsName))
		// A crash must end the program, not start a debugger that prints on its standard output or shows a window.
		r.set(key+`\AeDebug`, "Debugger", regString("false"))
		r.set(key+`\AeDebug`, "Auto", regString("1"))
	}
	r.set(`System\CurrentControlSet\Control\Windows`, "CSDVersion", regDword(0))
	r.set(`System\CurrentControlSet\Control\ProductOptions`, "ProductType", regString("WinNT"))
	r.set(`System\CurrentControlSet\Control\ComputerName\ComputerName`, "ComputerName", regString(computerName(Hostname)))
}

// editUser sets HKEY_CURRENT_USER.
func editUser(r *registry) {
	const overrides = `Software\Wine\DllOverrides`
	r.set(overrides, "wineboot.exe", regString("native")) // ours in system32, not Wine's own
	r.set(overrides, "winemenubuilder.exe", regString("")) // no menus on a host's desktop
	r.set(overrides, "mscoree", regString(""))             // no question whether to download Mono
	r.set(overrides, "mshtml", regString(""))              // nor Gecko
	r.set(`Software\Wine\Drivers`, "Graphics", regString("null"))
	r.set(`Software\Wine\WineDbg`, "ShowCrashDialog", regDword(0))
	r.deleteKey(`Software\Wine\Fonts\External Fonts`) // paths on the host
}

// computerName is the NetBIOS form of a host name.
func computerName(host string) string {
	name := []byte(host)
	for i, c := range name {
		if c == '.' {
			name = name[:i]
			break
		}
		if 'a' <= c && c <= 'z' {
			name[i] = c - 'a' + 'A'
		}
	}
	return string(name[:min(len(name), 15)])
}
