/* The navigation is long: bring the page that is open into its view. */
document.addEventListener("DOMContentLoaded", () => {
  const box = document.querySelector(".sidebar-scroll"), here = box && box.querySelector(".current-page > .reference");
  if (!here) return;
  const below = here.getBoundingClientRect().bottom - box.getBoundingClientRect().bottom;
  if (below > 0) box.scrollTo({top: below + box.clientHeight/2, behavior: "instant"});
});
