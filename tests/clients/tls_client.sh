#!/bin/bash
# As tls_client.py, with openssl ($1 is openssl) or curl ($1 is curl).
set -u
program=$1 port=$2 name=$3 file=$4
case $program in
openssl)
    [[ $name = [0-9]* ]] && check=(-verify_ip "$name" -noservername) || check=(-verify_hostname "$name" -servername "$name")
    openssl s_client -connect "127.0.0.1:$port" -CAfile "$file" -no-CApath -no-CAstore -x509_strict -verify_return_error \
        "${check[@]}" </dev/null 2>&1
    ;;
curl)
    curl -q -sS --noproxy '*' --cacert "$file" --connect-to "$name:$port:127.0.0.1:$port" "https://$name:$port/" 2>&1
    # 60: the certificate was not taken
    case $? in 60) exit 3 ;; 0 | 52 | 56) exit 0 ;; *) exit 1 ;; esac
    ;;
esac
status=$?
[ "$status" = 0 ] || exit 3
