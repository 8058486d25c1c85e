# A command on a machine that is a folder: sh enter.sh FOLDER COMMAND ...   (255: it is off, as with ssh)
cd "$1" 2>/dev/null && kill -0 "$(cat run/pid)" 2>/dev/null || { echo "Error: the machine is off" >&2; exit 255; }
shift
exec "$@"
