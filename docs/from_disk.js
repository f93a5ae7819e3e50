// Browsers do not let a page that was opened from disk read the index of the search.
if (location.protocol === "file:") {
  document.querySelectorAll(".md-header label[for=__search]").forEach((icon) => icon.remove());
  const note = document.createElement("small");
  note.className = "from-disk";
  note.textContent = "Search needs a web server: python -m http.server";
  document.querySelector(".md-header__inner").append(note);
}
