# What an agent does: it clones, commits and pushes, and holds no password. $1 is the server.
set -eu
url="$(printf %s "$1" | sed 's|://|://agent:%3C%3Cgit_key%3E%3E@|')/notes.git"
git clone -q "$url" notes
cd notes
echo "written without a password" >note.txt
git add note.txt
git -c user.name=agent -c user.email=agent@example.com commit -q -m "A note"
git push -q origin HEAD
git ls-remote origin HEAD
