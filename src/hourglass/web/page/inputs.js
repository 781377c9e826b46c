// The ways in for a picture: a file, a drop, the clipboard, the camera, a sample.

import * as camera from "./camera.js";

const $ = (id) => document.getElementById(id);
const SAMPLES = 6;

// `take(blob, name)` gets each picture, `say(text, bad)` what went wrong.
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
      else if (name === "drop") say("That was no file: drop a picture.", true);
    });
  }
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (file) take(file, "pasted");
    else if (!/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) say("The clipboard holds no picture.", true);
  });
  listenToCamera(take, say);
  addSamples(take, say);
}

function listenToCamera(take, say) {
  const video = $("video");
  const close = () => {
    camera.close(video);
    $("camera").hidden = true;
    $("camera-open").focus();
  };
  $("camera-open").addEventListener("click", async () => {
    $("camera").hidden = false;
    try {
      await camera.open(video);
      $("camera-take").focus();
    } catch (error) {
      close();
      say(`There is no camera: ${error.message}.`, true);
    }
  });
  $("camera-take").addEventListener("click", async () => {
    const blob = await camera.take(video);
    close();
    if (blob) take(blob, "camera");
  });
  $("camera-close").addEventListener("click", close);
  $("camera").addEventListener("keydown", (event) => event.key === "Escape" && close());
}

function addSamples(take, say) {
  for (let number = 0; number < SAMPLES; number += 1) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const picture = Object.assign(new Image(), {
      src: `samples/${number}.jpg`, alt: `Rendered person ${number + 1}`, loading: "lazy", width: 96, height: 96,
    });
    button.append(picture);
    button.addEventListener("click", async () => {
      try {
        const response = await fetch(picture.src);
        take(await response.blob(), `sample ${number + 1}`);
      } catch {
        say("The sample can't be fetched.", true);
      }
    });
    $("samples").append(button);
  }
  // An address that ends in #sample-2 opens with that one.
  const named = /^#sample-(\d)$/.exec(location.hash);
  if (named) $("samples").children[Number(named[1]) - 1]?.click();
}
