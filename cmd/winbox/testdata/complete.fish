# Prints what fish offers for each argument, a command line: complete.fish SCRIPT LINE...
source $argv[1]
for line in $argv[2..-1]
    echo "[$line]"
    complete -C $line | string replace -r '\t.*' ''
end
