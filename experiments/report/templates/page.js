// Says where a table is wider than the page, and runs the library of charts, which is compressed.
const wide = () => {
  for (const one of document.querySelectorAll(".scroll")) {
    one.classList.toggle("goes-on", one.scrollWidth > one.clientWidth + 1);
  }
};
wide();
addEventListener("resize", wide);
addEventListener("toggle", wide, true);
(async () => {
  const packed = Uint8Array.from(atob(document.getElementById("library").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.body.append(script);
})();
