/* Connects to the TCP port of 127.0.0.1 that the first argument names, and prints what it is told there. */
#include <stdio.h>
#include <stdlib.h>
#include <winsock2.h>

int main(int argc, char **argv)
{
	struct sockaddr_in to = { 0 };
	char text[64];
	WSADATA data;
	SOCKET s;
	int n;

	if (argc < 2 || WSAStartup(MAKEWORD(2, 2), &data))
		return 2;
	s = socket(AF_INET, SOCK_STREAM, 0);
	to.sin_family = AF_INET;
	to.sin_port = htons(atoi(argv[1]));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(s, (struct sockaddr *)&to, sizeof(to))) {
		printf("error %d\n", WSAGetLastError());
		return 1;
	}
	while ((n = recv(s, text, sizeof(text), 0)) > 0)
		fwrite(text, 1, n, stdout);
	return 0;
}
