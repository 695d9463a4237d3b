#!/bin/bash
# As tls_client.py, with openssl ($1 is openssl) or curl ($1 is curl).
set -u
program=$1 port=$2 name=$3 file=$4
[[ $name = *[!0-9a-f.:]* ]] && is_ip= || is_ip=1
[[ $name = *:* ]] && host="[$name]" || host=$name
case $program in
openssl)
    [ "$is_ip" ] && check=(-verify_ip "$name" -noservername) || check=(-verify_hostname "$name" -servername "$name")
    openssl s_client -connect "127.0.0.1:$port" -CAfile "$file" -no-CApath -no-CAstore -x509_strict -verify_return_error \
        "${check[@]}" </dev/null 2>&1
    ;;
curl)
    curl -q -sS --noproxy '*' --cacert "$file" --connect-to "$host:$port:127.0.0.1:$port" "https://$host:$port/" 2>&1
    # 60: the certificate was not taken
    case $? in 60) exit 3 ;; 0 | 52 | 56) exit 0 ;; *) exit 1 ;; esac
    ;;
esac
status=$?
[ "$status" = 0 ] || exit 3
