# ~/.bashrc
case $- in *i*) ;; *) return;; esac
export PATH="$HOME/bin:$PATH"
export OPENAI_API_KEY="@OPENAI@"
export ANTHROPIC_API_KEY='@ANTHROPIC@'
export GROQ_API_KEY=@GROQ@
export TOOL_API_KEY=$'@TOOL@'
declare -x TAVILY_API_KEY=@TAVILY@
BRAVE_API_KEY=@BRAVE@; export BRAVE_API_KEY
alias ask='OPENAI_API_KEY=@OPENAI@ ask'
export EDITOR=vim
