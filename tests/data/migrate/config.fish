if status is-interactive
    set -gx OPENAI_API_KEY @OPENAI@
    set -Ux GITHUB_TOKEN "@GITHUB@"
    set -gx EDITOR vim
end
