package x11

import (
	"encoding/binary"
	"errors"
)

// CookieName is the only kind of authorization that is known here, and the only one that is in use.
const CookieName = "MIT-MAGIC-COOKIE-1"

// Families of addresses in an authority file (Xauth.h); others are of the Internet.
const (
	familyLocal = 256
	familyWild  = 65535
)

// FindCookie finds the cookie for a display of this host in an authority file (xauth(1), "AUTHORITY FILES"): number is
// that of the display, host the name of the host. It is nil when there is none.
//
// # Errors
//
// The data is not an authority file.
func FindCookie(data []byte, host, number string) ([]byte, error) {
	for len(data) > 0 {
		if len(data) < 2 {
			return nil, errAuthority
		}
		family := binary.BigEndian.Uint16(data)
		data = data[2:]
		var fields [4]string // address, number, name, cookie
		for i := range fields {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return nil, errAuthority
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			fields[i], data = string(data[2:end]), data[end:]
		}
		here := family == familyWild || family == familyLocal && fields[0] == host
		if here && (fields[1] == number || fields[1] == "") && fields[2] == CookieName {
			return []byte(fields[3]), nil
		}
	}
	return nil, nil
}

var errAuthority = errors.New("not an X authority file")

// Authority makes an authority file with one cookie, for clients on a host of any name.
func Authority(cookie []byte, number string) []byte {
	data := binary.BigEndian.AppendUint16(nil, familyWild)
	for _, field := range []string{"", number, CookieName, string(cookie)} {
		data = append(binary.BigEndian.AppendUint16(data, uint16(len(field))), field...)
	}
	return data
}
