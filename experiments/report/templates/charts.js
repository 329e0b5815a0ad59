// Draws each chart of the page in place of the picture that stands for it.
const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
const views = [];
for (const figure of document.querySelectorAll("figure.chart")) {
  const specification = JSON.parse(figure.querySelector("script").textContent);
  // The interpreter (ast) in place of eval, which the page's policy forbids.
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: { theme } };
  vegaEmbed(figure.querySelector(".live"), specification, options)
    .then(({ view }) => {
      views.push(view);
      figure.classList.add("drawn");
    });
}
// Of a chart as wide as a window, paper would have small letters. A4 and Letter are wider than this.
const PAPER_PX = 640;
addEventListener("beforeprint", () => views.forEach((view) => view.width(PAPER_PX).run()));
addEventListener("afterprint", () => dispatchEvent(new Event("resize")));
