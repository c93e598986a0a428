// A link's one-time code stands behind the #: take it out of the history, and exchange it.
const form = document.getElementById("sign-in");
const code = new URLSearchParams(location.hash.slice(1)).get("code");
if (code) {
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("code").value = code;
  form.submit();
} else if (!document.querySelector(".error")) {
  // Reached from another site the cookie stays behind; asked from here it comes along.
  const answer = await fetch("/session");
  if (answer.ok) location.replace(form.elements.next.value);
}
