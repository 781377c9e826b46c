// The ways in for a picture or a video: a file, a drop, the clipboard, a sample.

const $ = (id) => document.getElementById(id);
const PHOTOS = [["astronaut", "Photo: an astronaut"], ["camera", "Photo: a photographer"]];
const RENDERED = 6;

// `take(blob, name)` gets each file, `say(text, bad)` what went wrong.
export function listen(take, say) {
  $("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) take(file, file.name);
    event.target.value = ""; // so that the same file can be chosen again
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.toggle("over", name === "dragover");
      const file = name === "drop" ? event.dataTransfer?.files[0] : null;
      if (file) take(file, file.name);
      else if (name === "drop") say("That was no file: drop a picture or a video.", true);
    });
  }
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => /^(image|video)\//.test(type));
    if (file) take(file, "pasted");
    else if (!/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) say("The clipboard holds no picture.", true);
  });
  const samples = [
    ...PHOTOS.map(([name, text]) => sample($("photos"), `samples/${name}.jpg`, name, text, take, say)),
    ...Array.from({ length: RENDERED }, (_, i) => sample($("samples"), `samples/${i}.jpg`, `sample ${i + 1}`, `Rendered person ${i + 1}`, take, say)),
  ];
  // An address that ends in #sample-2 or #photo-1 opens with that one.
  const named = /^#(sample|photo)-(\d)$/.exec(location.hash);
  if (named) samples[Number(named[2]) - 1 + (named[1] === "sample" ? PHOTOS.length : 0)]?.click();
}

function sample(place, address, name, text, take, say) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const picture = Object.assign(new Image(), { src: address, alt: text, loading: "lazy", width: 96, height: 96 });
  button.append(picture);
  button.addEventListener("click", async () => {
    try {
      const response = await fetch(picture.src);
      if (!response.ok) throw new Error("missing");
      take(await response.blob(), name);
    } catch {
      say("The sample can't be fetched.", true);
    }
  });
  place.append(button);
  return button;
}
