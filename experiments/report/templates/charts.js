// Draws each chart of the page in place of the picture that stands for it.
const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
for (const figure of document.querySelectorAll("figure.chart")) {
  const specification = JSON.parse(figure.querySelector("script").textContent);
  // The interpreter (ast) in place of eval, which the page's policy forbids.
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: { theme } };
  vegaEmbed(figure.querySelector(".live"), specification, options)
    .then(() => figure.classList.add("drawn"));
}
