/*
 * Says what the runtime provides beside Wine: the zone that TZ names, the
 * certificates of authorities and whether they validate, and what fonts there
 * are for the usual names.
 */
#include <windows.h>
#include <wincrypt.h>
#include <stdio.h>

/* local says what hour it is here at noon, UTC, on the first of a month. */
static int local(TIME_ZONE_INFORMATION *zone, int month)
{
	SYSTEMTIME utc = { .wYear = 2024, .wMonth = month, .wDay = 1, .wHour = 12 }, here;

	return SystemTimeToTzSpecificLocalTime(zone, &utc, &here) ? here.wHour * 100 + here.wMinute : -1;
}

static void zone(void)
{
	TIME_ZONE_INFORMATION zone;

	GetTimeZoneInformation(&zone);
	printf("january %04d july %04d\n", local(&zone, 1), local(&zone, 7));
}

static void certificates(void)
{
	int count = 0, valid = 0;
	const CERT_CONTEXT *cert = NULL;
	HCERTSTORE store = CertOpenSystemStoreA(0, "ROOT");

	while ((cert = CertEnumCertificatesInStore(store, cert))) {
		const CERT_CHAIN_CONTEXT *chain;
		CERT_CHAIN_PARA para = { sizeof para };

		count++;
		if (CertGetCertificateChain(NULL, cert, NULL, NULL, &para, CERT_CHAIN_CACHE_ONLY_URL_RETRIEVAL, NULL, &chain)) {
			valid += !(chain->TrustStatus.dwErrorStatus & CERT_TRUST_IS_UNTRUSTED_ROOT);
			CertFreeCertificateChain(chain);
		}
	}
	printf("authorities %s, trusted %s\n", count > 50 ? "many" : "few", valid == count ? "all" : "not all");
}

static void fonts(void)
{
	static const char *const names[] = { "Arial", "Times New Roman", "Courier New", "Tahoma", "MS Shell Dlg" };
	HDC dc = CreateCompatibleDC(NULL);

	for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
		char face[LF_FACESIZE] = "";
		SIZE size = { 0, 0 };
		HFONT font = CreateFontA(-20, 0, 0, 0, FW_NORMAL, 0, 0, 0, DEFAULT_CHARSET, 0, 0, 0, 0, names[i]);

		SelectObject(dc, font);
		GetTextFaceA(dc, sizeof face, face);
		GetTextExtentPoint32A(dc, "wide text", 9, &size);
		printf("%s: %s, %s\n", names[i], face, size.cx > 40 ? "has glyphs" : "has none");
	}
}

int main(void)
{
	zone();
	certificates();
	fonts();
	return 0;
}
