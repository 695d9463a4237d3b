"""A handshake with 127.0.0.1:PORT as NAME, trusting FILE alone: exit 0 when the certificate is taken, 3 when it is refused."""
import socket
import ssl
import sys

port, name, file = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=file)
# what Python 3.13 asks for by default
context.verify_flags |= ssl.VERIFY_X509_STRICT
try:
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain, server_hostname=name):
        pass
except ssl.SSLCertVerificationError as error:
    print(error)
    sys.exit(3)
