// Browsers let no page that was opened from disk read the index of the search, so it is hidden.
if (location.protocol === "file:") {
  const note = document.createElement("small");
  note.textContent = "To search, run python -m http.server here";
  document.querySelector(".md-header__inner").append(note);
}
